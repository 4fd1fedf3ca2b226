import io.eventuate.SubscriberOptions;
import io.eventuate.javaclient.commonimpl.common.SerializedEvent;
import io.eventuate.local.java.events.EventuateKafkaAggregateSubscriptions;
import io.eventuate.messaging.kafka.basic.consumer.DefaultKafkaConsumerFactory;
import io.eventuate.messaging.kafka.basic.consumer.EventuateKafkaConsumerConfigurationProperties;
import io.eventuate.messaging.kafka.common.EventuateKafkaConfigurationProperties;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;

/**
 * A subscription of Eventuate Local to aggregates and the types of their events. It prints what comes until it is
 * ended.
 *
 * <p>Arguments: BOOTSTRAP_SERVERS ISOLATION_LEVEL SUBSCRIBER_ID EVENT_TYPE,... ENTITY_TYPE...
 */
public final class LocalClient {
  /** The default of the Spring configuration. */
  private static final long POLL_MILLISECONDS = 100;
  private static final long CONNECTION_MILLISECONDS = 1000;

  public static void main(String[] arguments) {
    String bootstrapServers = arguments[0];
    String isolationLevel = arguments[1];
    String subscriberId = arguments[2];
    Set<String> eventTypes = Set.of(arguments[3].split(","));
    Map<String, Set<String>> aggregates = new HashMap<>();
    Arrays.stream(arguments).skip(4).forEach(entityType -> aggregates.put(entityType, eventTypes));

    Received received = new Received();
    EventuateKafkaAggregateSubscriptions subscriptions = subscriptions(bootstrapServers, isolationLevel);
    subscriptions.subscribe(subscriberId, aggregates, SubscriberOptions.DEFAULTS, event -> {
      received.print(fields(event));
      return CompletableFuture.completedFuture(null);
    });
  }

  private static EventuateKafkaAggregateSubscriptions subscriptions(String bootstrapServers, String isolationLevel) {
    var properties = new EventuateKafkaConsumerConfigurationProperties(Map.of("isolation.level", isolationLevel));
    properties.setPollTimeout(POLL_MILLISECONDS);
    return new EventuateKafkaAggregateSubscriptions(
        new EventuateKafkaConfigurationProperties(bootstrapServers, CONNECTION_MILLISECONDS), properties,
        new DefaultKafkaConsumerFactory());
  }

  private static Map<String, Object> fields(SerializedEvent event) {
    Map<String, Object> fields = new LinkedHashMap<>();
    fields.put("id", event.getId().asString());
    fields.put("entityType", event.getEntityType());
    fields.put("entityId", event.getEntityId());
    fields.put("eventType", event.getEventType());
    fields.put("eventData", event.getEventData());
    fields.put("metadata", event.getMetadata());
    return fields;
  }
}
