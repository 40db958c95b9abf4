// Prints bytes that the real classes make, one line each: name, blank, hex. Class names that moved between 4.x and 5.x
// are looked up by reflection, so one source serves all versions.

import java.lang.reflect.Method;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.CommandCustomHeader;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RemotingSerializable;
import org.apache.rocketmq.remoting.protocol.SerializeType;

public class Golden {
    static final String[] ROOTS = {"org.apache.rocketmq.remoting.protocol.", "org.apache.rocketmq.common.protocol.", "org.apache.rocketmq.common."};

    static Class<?> type(String name) throws Exception {
        for (String root : ROOTS) {
            try {
                return Class.forName(root + name);
            } catch (ClassNotFoundException next) {
                continue;
            }
        }
        throw new ClassNotFoundException(name);
    }

    /** A new object with the given properties set by its setters; a property the version does not know is left out. */
    static Object make(String name, Object... properties) throws Exception {
        Object made = type(name).getDeclaredConstructor().newInstance();
        for (int i = 0; i < properties.length; i += 2) {
            String setter = "set" + Character.toUpperCase(((String) properties[i]).charAt(0)) + ((String) properties[i]).substring(1);
            for (Method method : made.getClass().getMethods()) {
                if (method.getName().equals(setter) && method.getParameterCount() == 1) {
                    Object value = properties[i + 1];
                    Class<?> wanted = method.getParameterTypes()[0];
                    if (wanted.isEnum() && value instanceof String) {
                        for (Object constant : wanted.getEnumConstants()) {
                            if (constant.toString().equals(value) || ((Enum<?>) constant).name().equals(value)) {
                                value = constant;
                            }
                        }
                    }
                    method.invoke(made, value);
                }
            }
        }
        return made;
    }

    static void print(String name, byte[] bytes) {
        StringBuilder line = new StringBuilder(name).append(' ');
        for (byte b : bytes) {
            line.append(String.format("%02X", b));
        }
        System.out.println(line);
    }

    static byte[] bytes(ByteBuffer buffer) {
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        return bytes;
    }

    /** The whole frame in both header encodings. */
    static void frame(String name, int code, Object header, byte[] body) throws Exception {
        for (SerializeType type : new SerializeType[] {SerializeType.JSON, SerializeType.ROCKETMQ}) {
            RemotingCommand command = RemotingCommand.createRequestCommand(code, (CommandCustomHeader) header);
            command.setOpaque(7);
            command.setVersion(0x1DF);
            command.setSerializeTypeCurrentRPC(type);
            command.setBody(body);
            print("frame." + name + "." + type.name().toLowerCase(), bytes(command.encode()));
        }
    }

    static void response(String name, int code, String remark, Map<String, String> fields, byte[] body) throws Exception {
        for (SerializeType type : new SerializeType[] {SerializeType.JSON, SerializeType.ROCKETMQ}) {
            RemotingCommand command = RemotingCommand.createResponseCommand(code, remark);
            command.setOpaque(Integer.MAX_VALUE);
            command.setVersion(0x1DF);
            command.setSerializeTypeCurrentRPC(type);
            command.setExtFields(new HashMap<>(fields));
            command.setBody(body);
            print("response." + name + "." + type.name().toLowerCase(), bytes(command.encode()));
        }
    }

    static Message message(String topic, String body, String... properties) throws Exception {
        Message message = new Message(topic, body.getBytes("UTF-8"));
        for (int i = 0; i < properties.length; i += 2) {
            switch (properties[i]) {
                case "TAGS": message.setTags(properties[i + 1]); break;
                case "KEYS": message.setKeys(properties[i + 1]); break;
                default: message.putUserProperty(properties[i], properties[i + 1]);
            }
        }
        return message;
    }

    static MessageExt stored(String topic, String body, String host, int sysFlag) throws Exception {
        MessageExt message = new MessageExt();
        Message plain = message(topic, body, "TAGS", "TagA", "KEYS", "k1 k2", "grüße", "日本語 \uD83D\uDE00");
        message.setTopic(topic);
        message.setBody(plain.getBody());
        for (Map.Entry<String, String> property : plain.getProperties().entrySet()) {
            MessageAccess.put(message, property.getKey(), property.getValue());
        }
        message.setFlag(3);
        message.setQueueId(2);
        message.setQueueOffset(41);
        message.setCommitLogOffset(123456789012L);
        message.setSysFlag(sysFlag);
        message.setBornTimestamp(1700000000000L);
        message.setStoreTimestamp(1700000000005L);
        message.setBornHost(new InetSocketAddress(host, 50123));
        message.setStoreHost(new InetSocketAddress(host, 10911));
        message.setReconsumeTimes(4);
        message.setPreparedTransactionOffset(99);
        message.setBodyCRC((int) (crc(plain.getBody()) & 0x7FFFFFFF));
        return message;
    }

    static class MessageAccess extends org.apache.rocketmq.common.message.MessageAccessor {
        static void put(Message message, String name, String value) {
            putProperty(message, name, value);
        }
    }

    static long crc(byte[] bytes) {
        java.util.zip.CRC32 crc = new java.util.zip.CRC32();
        crc.update(bytes);
        return crc.getValue();
    }

    public static void main(String[] arguments) throws Exception {
        Object send = make("header.SendMessageRequestHeader", "producerGroup", "PG", "topic", "T", "defaultTopic", "TBW102",
            "defaultTopicQueueNums", 4, "queueId", 3, "sysFlag", 0, "bornTimestamp", 1700000000000L, "flag", 5, "properties",
            "KEYS\u0001k\u0002quote\u0001\"\\/ü\u0002", "reconsumeTimes", 0, "unitMode", false, "maxReconsumeTimes", 16, "batch", false);
        frame("send", 10, send, "hello".getBytes());
        Class<?> v2 = type("header.SendMessageRequestHeaderV2");
        for (Method method : v2.getMethods()) {
            if (method.getName().equals("createSendMessageRequestHeaderV2") && method.getParameterCount() == 1) {
                frame("send_v2", 310, method.invoke(null, send), "hello".getBytes());
            }
        }
        frame("pull", 11, make("header.PullMessageRequestHeader", "consumerGroup", "CG", "topic", "T", "queueId", 1, "queueOffset",
            1L << 40, "maxMsgNums", 32, "sysFlag", 6, "commitOffset", -1L, "suspendTimeoutMillis", 15000L, "subscription", "A || B",
            "subVersion", 1700000000000L, "expressionType", "TAG"), null);
        frame("offset_update", 15, make("header.UpdateConsumerOffsetRequestHeader", "consumerGroup", "CG", "topic", "T", "queueId", 1,
            "commitOffset", 77L), null);
        frame("send_back", 36, make("header.ConsumerSendMsgBackRequestHeader", "offset", 4096L, "group", "CG", "delayLevel", 3,
            "originMsgId", "ID", "originTopic", "T", "unitMode", false, "maxReconsumeTimes", 16), null);
        frame("end_transaction", 37, make("header.EndTransactionRequestHeader", "producerGroup", "PG", "tranStateTableOffset", 5L,
            "commitLogOffset", 4096L, "commitOrRollback", 8, "fromTransactionCheck", false, "msgId", "ID", "transactionId", "ID"), null);
        frame("route", 105, make("header.namesrv.GetRouteInfoRequestHeader", "topic", "T"), null);
        frame("register_broker", 103, make("header.namesrv.RegisterBrokerRequestHeader", "brokerName", "b", "brokerAddr", "1.2.3.4:10911",
            "clusterName", "C", "haServerAddr", "1.2.3.4:10912", "brokerId", 0L, "compressed", true, "bodyCrc32", 7), null);
        response("sent", 0, null, Map.of("msgId", "7F00000100002A9F0000000000001000", "queueId", "3", "queueOffset", "5"), null);
        response("error", 1, "bad \"thing\"\n\t\\ ü 日 \uD83D\uDE00 \u0001", Map.of("empty", "", "a", "b"), new byte[] {1, 2, 3});

        for (String host : new String[] {"127.0.0.1", "2001:db8::1"}) {
            int flag = host.contains(":") ? 0x30 : 0;
            print("record." + (flag == 0 ? "v4" : "v6"), MessageDecoder.encode(stored("orders", "hello Wörld", host, flag), false));
        }
        MessageExt packed = stored("orders", "x".repeat(5000), "127.0.0.1", 1);
        print("record.zlib", MessageDecoder.encode(packed, true));

        List<Message> batch = new ArrayList<>();
        batch.add(message("T", "hello", "TAGS", "TagA"));
        batch.add(message("T", "grüße", "KEYS", "k", "a", "b"));
        batch.get(0).setFlag(7);
        print("batch", MessageDecoder.encodeMessages(batch));
        print("properties", MessageDecoder.messageProperties2String(new java.util.TreeMap<>(Map.of("KEYS", "k", "TAGS", "TagA", "ü", "日"))).getBytes("UTF-8"));

        Object subscription = make("heartbeat.SubscriptionData", "topic", "T", "subString", "TagA || TagB", "subVersion", 1700000000000L);
        ((java.util.Set<Object>) subscription.getClass().getMethod("getTagsSet").invoke(subscription)).addAll(Arrays.asList("TagA", "TagB"));
        ((java.util.Set<Object>) subscription.getClass().getMethod("getCodeSet").invoke(subscription)).addAll(Arrays.asList("TagA".hashCode(), "TagB".hashCode()));
        Object consumer = make("heartbeat.ConsumerData", "groupName", "CG", "consumeType", "CONSUME_PASSIVELY", "messageModel", "CLUSTERING",
            "consumeFromWhere", "CONSUME_FROM_LAST_OFFSET", "subscriptionDataSet", new HashSet<>(List.of(subscription)));
        Object producer = make("heartbeat.ProducerData", "groupName", "PG");
        Object heartbeat = make("heartbeat.HeartbeatData", "clientID", "10.0.0.1@1234", "consumerDataSet", new HashSet<>(List.of(consumer)),
            "producerDataSet", new HashSet<>(List.of(producer)));
        print("body.heartbeat", ((RemotingSerializable) heartbeat).encode());
        HashSet<MessageQueue> queues = new HashSet<>(List.of(new MessageQueue("T", "broker-a", 3)));
        print("body.lock", ((RemotingSerializable) make("body.LockBatchRequestBody", "consumerGroup", "CG", "clientId", "id", "mqSet", queues)).encode());
        print("body.lock_reply", ((RemotingSerializable) make("body.LockBatchResponseBody", "lockOKMQSet", queues)).encode());
        print("body.consumer_list", ((RemotingSerializable) make((has("header.GetConsumerListByGroupResponseBody") ? "header" : "body") + ".GetConsumerListByGroupResponseBody", "consumerIdList", List.of("a", "b"))).encode());

        HashMap<Long, String> addresses = new HashMap<>(Map.of(0L, "1.2.3.4:10911", 1L, "1.2.3.5:10911"));
        Object broker = make("route.BrokerData", "cluster", "C", "brokerName", "broker-a", "brokerAddrs", addresses);
        Object queue = make("route.QueueData", "brokerName", "broker-a", "readQueueNums", 4, "writeQueueNums", 4, "perm", 6);
        Object route = make("route.TopicRouteData", "brokerDatas", new ArrayList<>(List.of(broker)), "queueDatas", new ArrayList<>(List.of(queue)),
            "filterServerTable", new HashMap<>());
        print("body.route", ((RemotingSerializable) route).encode());
        Object cluster = make("body.ClusterInfo", "brokerAddrTable", new HashMap<>(Map.of("broker-a", broker)), "clusterAddrTable",
            new HashMap<>(Map.of("C", new HashSet<>(List.of("broker-a")))));
        print("body.cluster_info", ((RemotingSerializable) cluster).encode());

        Object topic = make("TopicConfig", "topicName", "orders", "readQueueNums", 8, "writeQueueNums", 6, "perm", 6, "topicSysFlag", 0);
        Object wrapper = make("body.TopicConfigAndMappingSerializeWrapper".replace("AndMapping", has("body.TopicConfigAndMappingSerializeWrapper") ? "AndMapping" : ""));
        ((Map<Object, Object>) wrapper.getClass().getMethod("getTopicConfigTable").invoke(wrapper)).put("orders", topic);
        Object version = wrapper.getClass().getMethod("getDataVersion").invoke(wrapper);
        version.getClass().getMethod("setTimestamp", long.class).invoke(version, 1700000000000L);
        for (Method method : wrapper.getClass().getMethods()) {
            if (method.getName().equals("getMappingDataVersion")) {
                Object mapping = method.invoke(wrapper);
                mapping.getClass().getMethod("setTimestamp", long.class).invoke(mapping, 1700000000000L);
            }
        }
        Object register = make("body.RegisterBrokerBody", "topicConfigSerializeWrapper", wrapper, "filterServerList", new ArrayList<>());
        for (boolean compressed : new boolean[] {false, true}) {
            byte[] encoded = (byte[]) register.getClass().getMethod("encode", boolean.class).invoke(register, compressed);
            print(compressed ? "body.register_compressed" : "body.register", encoded);
        }
        for (String text : new String[] {"TagA", "", "grüße", "日本語", "\uD83D\uDE00", "polygenelubricants"}) {
            print("hash." + text.hashCode(), text.getBytes("UTF-8"));
        }
        System.exit(0);
    }

    static boolean has(String name) {
        try {
            type(name);
            return true;
        } catch (Exception absent) {
            return false;
        }
    }
}
