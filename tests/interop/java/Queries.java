// Queries as an operator makes them: every command of mqadmin that finds messages, and one that has a consumer consume a
// chosen one. Says on stdout what was sent and what each command printed.

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.MQVersion;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;
import org.apache.rocketmq.tools.command.MQAdminStartup;

public class Queries {
    static final PrintStream OUT = System.out;

    static synchronized void say(Object... fields) {
        StringBuilder line = new StringBuilder();
        for (Object field : fields) {
            line.append(line.length() == 0 ? "" : "\t").append(String.valueOf(field).replaceAll("\\s+", " "));
        }
        OUT.println(line);
        OUT.flush();
    }

    /** Runs a command of mqadmin and says what it printed. */
    static void admin(String name, String... arguments) {
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        PrintStream to = new PrintStream(printed, true);
        System.setOut(to);
        System.setErr(to);
        try {
            MQAdminStartup.main0(arguments, null);
        } catch (Throwable error) {
            error.printStackTrace(to);
        }
        System.setOut(OUT);
        say("printed", name, new String(printed.toByteArray(), StandardCharsets.UTF_8));
    }

    /** NAMESRV TOPIC GROUP MESSAGES */
    public static void main(String[] a) throws Exception {
        String server = a[0];
        String topic = a[1];
        String group = a[2];
        File home = Files.createTempDirectory("queries").toFile();
        new File(home, "conf").mkdirs();
        Files.write(new File(home, "conf/logback_tools.xml").toPath(), "<configuration/>".getBytes(StandardCharsets.UTF_8));
        System.setProperty("rocketmq.home.dir", home.getPath());

        DefaultMQProducer producer = new DefaultMQProducer("PG-" + topic);
        producer.setNamesrvAddr(server);
        producer.start();
        List<SendResult> sent = new ArrayList<>();
        for (int n = 0; n < Integer.parseInt(a[3]); n++) {
            Message message = new Message(topic, "Tag" + n % 3, "key-" + n + " all", ("body " + n).getBytes(StandardCharsets.UTF_8));
            SendResult result = producer.send(message);
            sent.add(result);
            say("sent", n, result.getMsgId(), result.getOffsetMsgId(), result.getMessageQueue().getBrokerName(),
                result.getMessageQueue().getQueueId(), result.getQueueOffset());
        }
        // What was not consumed leaves no progress to ask for.
        CountDownLatch consumed = new CountDownLatch(sent.size());
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setNamesrvAddr(server);
        consumer.setInstanceName("one");
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt m : messages) {
                say("got", m.getMsgId());
                consumed.countDown();
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        if (!consumed.await(60, TimeUnit.SECONDS)) {
            throw new IllegalStateException(consumed.getCount() + " messages were not consumed in a minute");
        }
        say("ready");

        SendResult last = sent.get(sent.size() - 1);
        String queue = Integer.toString(last.getMessageQueue().getQueueId());
        String broker = last.getMessageQueue().getBrokerName();
        String client = consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
        String n = Integer.toString(sent.size() - 1);
        if (MQVersion.getVersionDesc(MQVersion.CURRENT_VERSION).startsWith("V4")) {
            admin("by id", "queryMsgById", "-n", server, "-i", last.getOffsetMsgId());
        } else {
            admin("by id", "queryMsgById", "-n", server, "-t", topic, "-i", last.getOffsetMsgId());
        }
        admin("by key", "queryMsgByKey", "-n", server, "-t", topic, "-k", "key-" + n);
        admin("by shared key", "queryMsgByKey", "-n", server, "-t", topic, "-k", "all");
        admin("by nobody's key", "queryMsgByKey", "-n", server, "-t", topic, "-k", "none");
        admin("by unique key", "queryMsgByUniqueKey", "-n", server, "-t", topic, "-i", last.getMsgId());
        admin("by offset", "queryMsgByOffset", "-n", server, "-t", topic, "-b", broker, "-i", queue, "-o", Long.toString(last.getQueueOffset()));
        admin("all", "printMsg", "-n", server, "-t", topic);
        admin("all of a queue", "printMsgByQueue", "-n", server, "-t", topic, "-a", broker, "-i", queue, "-p", "true");
        admin("doings", "consumerStatus", "-n", server, "-g", group, "-i", client);
        DefaultMQAdminExt admin = new DefaultMQAdminExt();
        admin.setNamesrvAddr(server);
        admin.setInstanceName("admin");
        admin.start();
        say("printed", "consumed directly", admin.consumeMessageDirectly(group, client, topic, last.getMsgId()));
        admin.shutdown();
        consumer.shutdown();
        admin("progress", "consumerProgress", "-n", server, "-g", group);
        admin("progress of nobody", "consumerProgress", "-n", server, "-g", "nobody-" + group);
        producer.shutdown();
        say("closed");
        System.exit(0);
    }
}
