import io.eventuate.common.json.mapper.JSonMapper;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;

/** Prints what a client received to standard output, one JSON object a line. */
final class Received {
  private final PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);

  synchronized void print(Map<String, Object> fields) {
    out.println(JSonMapper.toJson(fields));
  }
}
