import io.eventuate.tram.cdc.connector.pipeline.CdcTramPipelineConfiguration;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.zookeeper.server.NIOServerCnxnFactory;
import org.apache.zookeeper.server.ZooKeeperServer;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.autoconfigure.data.redis.RedisAutoConfiguration;
import org.springframework.boot.autoconfigure.jdbc.DataSourceAutoConfiguration;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;

/**
 * Eventuate CDC as its service starts it, from the libraries that are published. It is configured by the environment
 * as the service is, but for ZooKeeper, which runs in the same process: nobody else stands for the leadership here.
 */
@Configuration(proxyBeanMethods = false)
@EnableAutoConfiguration(exclude = {DataSourceAutoConfiguration.class, RedisAutoConfiguration.class})
@Import(CdcTramPipelineConfiguration.class)
public class EventuateCdc {
  private static final int TICK_MILLISECONDS = 500;
  private static final int CONNECTIONS = 20;

  public static void main(String[] arguments) throws Exception {
    System.setProperty("eventuatelocal.zookeeper.connection.string", "127.0.0.1:" + startZooKeeper());
    SpringApplication.run(EventuateCdc.class, arguments);
  }

  private static int startZooKeeper() throws Exception {
    Path data = Files.createTempDirectory("zookeeper-");
    NIOServerCnxnFactory listener = new NIOServerCnxnFactory();
    listener.configure(new InetSocketAddress("127.0.0.1", 0), CONNECTIONS);
    listener.startup(new ZooKeeperServer(data.toFile(), data.toFile(), TICK_MILLISECONDS));
    return listener.getLocalPort();
  }
}
