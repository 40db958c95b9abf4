// A Java client as its users write it, driven by the interop test: produces or consumes and says on stdout what happened.
// The n-th message of a producer has the same content in Java and in Rust (tests/interop/src/content.rs), so that every
// reader can tell what it ought to have got.

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.zip.CRC32;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

public class Driver {
    static synchronized void say(Object... fields) {
        StringBuilder line = new StringBuilder();
        for (Object field : fields) {
            line.append(line.length() == 0 ? "" : "\t").append(field);
        }
        System.out.println(line);
        System.out.flush();
    }

    static byte[] body(String producer, int n) {
        StringBuilder text = new StringBuilder(producer + "-" + n + " grüße 日本語 \uD83D\uDE00 ");
        int length = n % 50 == 0 ? 6000 : n % 100;
        for (int i = 0; i < length; i++) {
            text.append((char) ('a' + (n + i) % 26));
        }
        return text.toString().getBytes(StandardCharsets.UTF_8);
    }

    static Message message(String topic, String producer, int n) {
        Message message = new Message(topic, "Tag" + n % 3, "key-" + n + " all", body(producer, n));
        message.putUserProperty("producer", producer);
        message.putUserProperty("serial", Integer.toString(n));
        message.putUserProperty("größe", "日本-" + n);
        return message;
    }

    static void sent(int n, SendResult result) {
        say("sent", n, result.getSendStatus(), result.getMessageQueue().getBrokerName(), result.getMessageQueue().getQueueId(),
            result.getQueueOffset(), result.getMsgId(), result.getOffsetMsgId());
    }

    /** produce NAMESRV TOPIC PRODUCER FIRST COUNT MODE: sync from four threads, async, batch, or sync in one thread. */
    static void produce(String[] a) throws Exception {
        String topic = a[2];
        String name = a[3];
        int first = Integer.parseInt(a[4]);
        int count = Integer.parseInt(a[5]);
        DefaultMQProducer producer = new DefaultMQProducer("PG-" + name);
        producer.setNamesrvAddr(a[1]);
        producer.setInstanceName(name);
        producer.setSendMsgTimeout(60000);
        producer.start();
        if (a[6].equals("async")) {
            CountDownLatch done = new CountDownLatch(count);
            java.util.concurrent.Semaphore window = new java.util.concurrent.Semaphore(64);
            for (int i = first; i < first + count; i++) {
                int n = i;
                window.acquire();
                producer.send(message(topic, name, n), new SendCallback() {
                    public void onSuccess(SendResult result) {
                        sent(n, result);
                        window.release();
                        done.countDown();
                    }

                    public void onException(Throwable error) {
                        say("failed", n, error.toString().replaceAll("\\s+", " "));
                        window.release();
                        done.countDown();
                    }
                });
            }
            done.await();
        } else if (a[6].equals("batch")) {
            for (int i = first; i < first + count; i += 10) {
                List<Message> batch = new ArrayList<>();
                for (int n = i; n < Math.min(i + 10, first + count); n++) {
                    batch.add(message(topic, name, n));
                }
                SendResult result = producer.send(batch);
                for (int n = i; n < Math.min(i + 10, first + count); n++) {
                    say("sent", n, result.getSendStatus(), result.getMessageQueue().getBrokerName(), result.getMessageQueue().getQueueId(),
                        result.getQueueOffset() + n - i, result.getMsgId().split(",")[n - i], result.getOffsetMsgId().split(",")[n - i]);
                }
            }
        } else {
            int threads = a[6].equals("one") ? 1 : 4;
            AtomicInteger next = new AtomicInteger(first);
            List<Thread> all = new ArrayList<>();
            for (int t = 0; t < threads; t++) {
                Thread thread = new Thread(() -> {
                    for (int n = next.getAndIncrement(); n < first + count; n = next.getAndIncrement()) {
                        try {
                            sent(n, producer.send(message(topic, name, n)));
                        } catch (Exception error) {
                            say("failed", n, error.toString().replaceAll("\\s+", " "));
                        }
                    }
                });
                thread.start();
                all.add(thread);
            }
            for (Thread thread : all) {
                thread.join();
            }
        }
        producer.shutdown();
        say("closed");
    }

    /** stress NAMESRV TOPIC PRODUCER THREADS: each thread sends one message after the other until standard input ends. */
    static void stress(String[] a) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("PG-" + a[3]);
        producer.setNamesrvAddr(a[1]);
        producer.setInstanceName(a[3]);
        producer.setSendMsgTimeout(2000);
        producer.start();
        say("ready");
        List<Thread> all = new ArrayList<>();
        java.util.concurrent.atomic.AtomicBoolean stop = new java.util.concurrent.atomic.AtomicBoolean();
        for (int t = 0; t < Integer.parseInt(a[4]); t++) {
            String name = a[3] + t;
            Thread thread = new Thread(() -> {
                for (int n = 0; !stop.get(); n++) {
                    try {
                        SendResult result = producer.send(message(a[2], name, n));
                        say("sent", n, result.getSendStatus(), result.getMessageQueue().getBrokerName(), result.getMessageQueue().getQueueId(),
                            result.getQueueOffset(), result.getMsgId(), result.getOffsetMsgId(), name);
                    } catch (Exception error) {
                        say("failed", n, error.toString().replaceAll("\\s+", " "), name);
                        try {
                            Thread.sleep(20);
                        } catch (InterruptedException interrupted) {
                            return;
                        }
                    }
                }
            });
            thread.start();
            all.add(thread);
        }
        while (System.in.read() >= 0) {
            continue;
        }
        stop.set(true);
        for (Thread thread : all) {
            thread.join();
        }
        producer.shutdown();
        say("closed");
    }

    /** consume NAMESRV TOPIC GROUP MEMBER SUBSCRIPTION: until standard input ends. */
    static void consume(String[] a) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(a[3]);
        consumer.setNamesrvAddr(a[1]);
        consumer.setInstanceName(a[4]);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeThreadMin(4);
        consumer.setConsumeThreadMax(4);
        consumer.subscribe(a[2], a[5]);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt m : messages) {
                CRC32 crc = new CRC32();
                crc.update(m.getBody());
                say("got", m.getProperty("producer"), m.getProperty("serial"), m.getBrokerName(), m.getQueueId(), m.getQueueOffset(),
                    m.getReconsumeTimes(), m.getTags(), m.getKeys(), m.getProperty("größe"), Long.toString(crc.getValue()), m.getMsgId());
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        say("ready");
        Thread watch = new Thread(() -> {
            Set<String> last = null;
            while (true) {
                Set<String> owned = new TreeSet<>();
                for (MessageQueue queue : consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet()) {
                    if (!queue.getTopic().startsWith("%RETRY%")) {
                        owned.add(queue.getBrokerName() + ":" + queue.getQueueId());
                    }
                }
                if (!owned.equals(last)) {
                    say("owns", String.join(",", owned));
                    last = owned;
                }
                try {
                    Thread.sleep(200);
                } catch (InterruptedException stop) {
                    return;
                }
            }
        });
        watch.setDaemon(true);
        watch.start();
        while (System.in.read() >= 0) {
            continue;
        }
        consumer.shutdown();
        say("closed");
    }

    /** transact NAMESRV TOPIC PRODUCER FIRST COUNT: of four messages one is committed, one rolled back, two are left open; */
    /** of those the checks commit one, of every other four only the second check, and roll back the other. */
    static void transact(String[] a) throws Exception {
        String name = a[3];
        int first = Integer.parseInt(a[4]);
        int count = Integer.parseInt(a[5]);
        TransactionMQProducer producer = new TransactionMQProducer("PG-" + name);
        producer.setNamesrvAddr(a[1]);
        producer.setInstanceName(name);
        producer.setSendMsgTimeout(10000);
        ConcurrentHashMap<Integer, Integer> asked = new ConcurrentHashMap<>();
        producer.setTransactionListener(new TransactionListener() {
            public LocalTransactionState executeLocalTransaction(Message message, Object n) {
                int kind = (Integer) n % 4;
                return kind == 0 ? LocalTransactionState.COMMIT_MESSAGE
                    : kind == 1 ? LocalTransactionState.ROLLBACK_MESSAGE : LocalTransactionState.UNKNOW;
            }

            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                int n = Integer.parseInt(message.getProperty("serial"));
                int times = asked.merge(n, 1, Integer::sum);
                CRC32 crc = new CRC32();
                crc.update(message.getBody());
                say("checked", n, times, message.getTopic(), message.getTags(), message.getKeys(), message.getProperty("größe"),
                    Long.toString(crc.getValue()), message.getTransactionId(), message.getProperty("TRANSACTION_CHECK_TIMES"));
                if (n % 8 == 6 && times == 1) {
                    return LocalTransactionState.UNKNOW;
                }
                return n % 4 == 2 ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE;
            }
        });
        producer.start();
        for (int n = first; n < first + count; n++) {
            TransactionSendResult result = producer.sendMessageInTransaction(message(a[2], name, n), n);
            say("half", n, result.getSendStatus(), result.getLocalTransactionState(), result.getMsgId(), result.getTransactionId());
        }
        while (System.in.read() >= 0) {
            continue;
        }
        producer.shutdown();
        say("closed");
    }

    static void later(String what, MessageExt m) {
        java.util.TreeMap<String, String> properties = new java.util.TreeMap<>(m.getProperties());
        // What a client adds itself, or draws.
        for (String own : new String[] {"CONSUME_START_TIME", "MIN_OFFSET", "MAX_OFFSET", "UNIQ_KEY"}) {
            properties.remove(own);
        }
        StringBuilder text = new StringBuilder();
        properties.forEach((key, value) -> text.append(key).append('=').append(value).append(' '));
        say(what, new String(m.getBody(), StandardCharsets.UTF_8), m.getTopic(), m.getReconsumeTimes(), m.getStoreTimestamp(), m.getMsgId(),
            m.getTags(), m.getKeys(), text);
    }

    /** later NAMESRV TOPIC GROUP: sends with delays, fails messages, and shows what comes until two of them died. */
    static void later(String[] a) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("PG-" + a[2]);
        producer.setNamesrvAddr(a[1]);
        producer.start();
        CountDownLatch done = new CountDownLatch(6);
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(a[3]);
        consumer.setNamesrvAddr(a[1]);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(a[2], "*");
        consumer.setMaxReconsumeTimes(2);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            MessageExt m = messages.get(0);
            later("got", m);
            String body = new String(m.getBody(), StandardCharsets.UTF_8);
            if (body.equals("hard")) {
                context.setDelayLevelWhenNextConsume(1);
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            if (body.equals("hopeless")) {
                context.setDelayLevelWhenNextConsume(-1);
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            if (body.equals("once") && m.getReconsumeTimes() == 0) {
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            done.countDown();
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        String[] bodies = {"level 1", "level 2", "level 0", "hard", "hopeless", "once"};
        for (int i = 0; i < bodies.length; i++) {
            Message message = new Message(a[2], "TagA", "key-" + i, bodies[i].getBytes(StandardCharsets.UTF_8));
            message.putUserProperty("mine", "yes");
            if (i < 3) {
                message.setDelayTimeLevel(new int[] {1, 2, 0}[i]);
            }
            SendResult result = producer.send(message);
            say("sent", bodies[i], result.getSendStatus(), result.getMessageQueue().getQueueId(), result.getMsgId(), result.getOffsetMsgId());
        }
        DefaultMQPushConsumer undertaker = new DefaultMQPushConsumer(a[3] + "-dead");
        undertaker.setNamesrvAddr(a[1]);
        undertaker.setInstanceName("dead");
        undertaker.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        undertaker.subscribe("%DLQ%" + a[3], "*");
        undertaker.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(m -> later("dead", m));
            messages.forEach(m -> done.countDown());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        undertaker.start();
        if (!done.await(150, java.util.concurrent.TimeUnit.SECONDS)) {
            say("late", done.getCount());
        }
        Thread.sleep(2000); // repeats would come now
        consumer.shutdown();
        undertaker.shutdown();
        producer.shutdown();
        say("closed");
    }

    /** A client's threads would keep a failed run alive for ever. */
    public static void main(String[] arguments) {
        try {
            run(arguments);
        } catch (Throwable error) {
            error.printStackTrace();
            System.exit(1);
        }
        System.exit(0);
    }

    static void run(String[] arguments) throws Exception {
        if (arguments[0].equals("produce")) {
            produce(arguments);
        } else if (arguments[0].equals("stress")) {
            stress(arguments);
        } else if (arguments[0].equals("transact")) {
            transact(arguments);
        } else if (arguments[0].equals("later")) {
            later(arguments);
        } else {
            consume(arguments);
        }
    }
}
