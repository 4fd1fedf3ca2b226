import com.fasterxml.jackson.databind.ObjectMapper;
import io.cloudevents.CloudEvent;
import io.cloudevents.CloudEventData;
import io.cloudevents.jackson.JsonCloudEventData;
import io.cloudevents.kafka.CloudEventDeserializer;
import io.cloudevents.rw.CloudEventRWException;
import java.time.Duration;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Reads topics with the CloudEvents SDK, and prints each event as a JSON object, one a line, until it is stopped. */
class CloudEventReader {
    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) throws Exception {
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", arguments[0],
            "isolation.level", arguments[1],
            "group.id", arguments[2],
            "auto.offset.reset", "earliest");
        List<String> topics = List.of(arguments).subList(3, arguments.length);
        var events = new CloudEventDeserializer();
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(topics);
            while (true) {
                for (var record : consumer.poll(Duration.ofMillis(100))) {
                    System.out.println(JSON.writeValueAsString(printed(events, record)));
                }
            }
        }
    }

    /** What the SDK says of the record. It alone reads headers and value. */
    private static Map<String, Object> printed(CloudEventDeserializer events, ConsumerRecord<String, byte[]> record) {
        Map<String, Object> printed = new LinkedHashMap<>();
        printed.put("topic", record.topic());
        printed.put("key", record.key());
        try {
            CloudEvent event = events.deserialize(record.topic(), record.headers(), record.value());
            printed.put("specversion", event.getSpecVersion().toString());
            for (String name : event.getAttributeNames()) {
                Object attribute = event.getAttribute(name);
                printed.put(name, attribute == null ? null : attribute.toString());
            }
            for (String name : event.getExtensionNames()) {
                printed.put("extension " + name, String.valueOf(event.getExtension(name)));
            }
            CloudEventData data = event.getData();
            printed.put("data", data == null ? null : HexFormat.of().formatHex(data.toBytes()));
            printed.put("isJson", data instanceof JsonCloudEventData);
        } catch (CloudEventRWException error) {
            printed.put("error", error.getMessage());
        }
        return printed;
    }
}
