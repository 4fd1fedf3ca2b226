import io.eventuate.messaging.kafka.basic.consumer.DefaultKafkaConsumerFactory;
import io.eventuate.messaging.kafka.basic.consumer.EventuateKafkaConsumerConfigurationProperties;
import io.eventuate.messaging.kafka.consumer.MessageConsumerKafkaImpl;
import io.eventuate.messaging.kafka.consumer.OriginalTopicPartitionToSwimlaneMapping;
import io.eventuate.tram.consumer.common.DecoratedMessageHandlerFactory;
import io.eventuate.tram.consumer.common.DuplicateDetectingMessageHandlerDecorator;
import io.eventuate.tram.consumer.common.MessageConsumerImpl;
import io.eventuate.tram.consumer.common.MessageHandlerDecorator;
import io.eventuate.tram.consumer.common.NoopDuplicateMessageDetector;
import io.eventuate.tram.consumer.kafka.EventuateTramKafkaMessageConsumer;
import io.eventuate.tram.messaging.common.DefaultChannelMapping;
import io.eventuate.tram.messaging.common.Message;
import io.eventuate.tram.messaging.consumer.DefaultSubscriberMapping;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * A message consumer of Eventuate Tram, put together as its Spring configuration does it. Nothing detects duplicates,
 * so that they show. It prints what comes until it is ended.
 *
 * <p>Arguments: BOOTSTRAP_SERVERS ISOLATION_LEVEL SUBSCRIBER_ID DESTINATION...
 */
public final class TramClient {
  /** The default of the Spring configuration. */
  private static final long POLL_MILLISECONDS = 100;

  public static void main(String[] arguments) {
    String bootstrapServers = arguments[0];
    String isolationLevel = arguments[1];
    String subscriberId = arguments[2];
    Set<String> destinations = Set.copyOf(Arrays.asList(arguments).subList(3, arguments.length));

    Received received = new Received();
    consumer(bootstrapServers, isolationLevel)
        .subscribe(subscriberId, destinations, message -> received.print(fields(message)));
  }

  private static MessageConsumerImpl consumer(String bootstrapServers, String isolationLevel) {
    var properties = new EventuateKafkaConsumerConfigurationProperties(Map.of("isolation.level", isolationLevel));
    properties.setPollTimeout(POLL_MILLISECONDS);
    var kafka = new MessageConsumerKafkaImpl(bootstrapServers, properties, new DefaultKafkaConsumerFactory(),
        new OriginalTopicPartitionToSwimlaneMapping());
    List<MessageHandlerDecorator> decorators = new ArrayList<>();
    decorators.add(new DuplicateDetectingMessageHandlerDecorator(new NoopDuplicateMessageDetector()));
    return new MessageConsumerImpl(DefaultChannelMapping.builder().build(),
        new EventuateTramKafkaMessageConsumer(kafka), new DecoratedMessageHandlerFactory(decorators),
        new DefaultSubscriberMapping());
  }

  private static Map<String, Object> fields(Message message) {
    Map<String, Object> fields = new LinkedHashMap<>();
    fields.put("id", message.getId());
    fields.put("headers", message.getHeaders());
    fields.put("payload", message.getPayload());
    return fields;
  }
}
