//! The name server through its public door: `cargo test -p namesrv` and `cargo sim-test -p namesrv`.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;

use bytes::Bytes;
use namesrv::{Config, Namesrv, StartError};
use net::{CallError, Client, Options, Peer, Reply, Service};
use protocol::body::{
    ClusterInfo, DataVersion, KvTable, RegisterBrokerBody, TopicConfig, TopicConfigSerializeWrapper,
    TopicList, TopicRouteData, crc31,
};
use protocol::rpc::*;
use protocol::{Command, Header, Request, Text, code, json};
use runtime::disk::Disk;
use runtime::sync::mpsc;
use runtime::task::TaskSet;
use runtime::time::{Duration, Instant, sleep, timeout};

/// Runs the test in a folder of its own.
fn on_disk<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Disk) -> F + Send + 'static) {
    #[cfg(not(madsim))]
    let folder = tempfile::tempdir().unwrap();
    #[cfg(not(madsim))]
    let root = folder.path().to_str().unwrap().to_owned();
    #[cfg(madsim)]
    let root = "/namesrv".to_owned();
    runtime::run(Some(2), move || async move {
        let whole = test(Disk::open(&root).unwrap());
        timeout(Duration::from_secs(600), whole).await.expect("the test ends");
    });
}

fn local() -> Config {
    Config { bind_address: "127.0.0.1".into(), listen_port: 0, ..Config::default() }
}

/// One peer of the name server: a broker or a client, with a connection of its own.
struct Someone {
    client: Client,
    server: Text,
    _tasks: TaskSet,
}

/// Passes on the codes of what is asked of it.
struct Heard(mpsc::Sender<Command>);

impl Service for Heard {
    async fn handle(&self, _: &Arc<Peer>, command: Command) -> Reply {
        let _ = self.0.try_send(command);
        Reply::ok()
    }
}

impl Someone {
    fn new(namesrv: &Namesrv) -> Self {
        let tasks = TaskSet::new();
        let (heard, _) = mpsc::channel(1);
        let client = Client::new(&tasks, Arc::new(Heard(heard)), Options::default());
        Self { client, server: namesrv.address().to_string().into(), _tasks: tasks }
    }

    async fn call<R: Request>(
        &self,
        request: R,
        body: impl Into<Bytes>,
    ) -> Result<(R::Reply, Bytes), CallError> {
        self.client.call(&self.server, &request, body.into(), SOON).await
    }

    async fn refused<R: Request>(&self, request: R, body: impl Into<Bytes>) -> (i32, String) {
        match self.call(request, body).await {
            Err(CallError::Refused { code, remark }) => (code, remark.map(String::from).unwrap_or_default()),
            Ok(_) => panic!("{} was not refused", R::NAME),
            Err(error) => panic!("{}: {error}", R::NAME),
        }
    }

    async fn raw(&self, command: Command) -> Command {
        self.client.call_raw(&self.server, command, SOON).await.unwrap()
    }

    async fn register(
        &self,
        header: RegisterBroker,
        topics: &[&str],
    ) -> Result<RegisterBrokerReply, CallError> {
        let body = json::to_vec(&registration(topics));
        let header = RegisterBroker { body_crc32: crc31(&body), ..header };
        self.call(header, body).await.map(|(reply, _)| reply)
    }

    async fn route(&self, topic: &str) -> Option<TopicRouteData> {
        let request = GetRouteInfoByTopic { topic: topic.into(), ..GetRouteInfoByTopic::default() };
        match self.call(request, "").await {
            Ok((Empty {}, body)) => Some(json::from_slice(&body).unwrap()),
            Err(CallError::Refused { code: code::TOPIC_NOT_EXIST, .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// How long the topic has a route; None when it still has one in the end.
    async fn until_gone(&self, topic: &str, within: Duration) -> Option<Duration> {
        let start = Instant::now();
        while self.route(topic).await.is_some() {
            if start.elapsed() > within {
                return None;
            }
            sleep(Duration::from_millis(20)).await;
        }
        Some(start.elapsed())
    }

    async fn topics(&self) -> Vec<Text> {
        let (_, body) = self.call(GetAllTopicListFromNamesrv {}, "").await.unwrap();
        json::from_slice::<TopicList>(&body).unwrap().topic_list
    }

    fn leave(&self) {
        self.client.close(&self.server);
    }
}

fn registration(topics: &[&str]) -> RegisterBrokerBody {
    let config = |topic: &&str| {
        let topic_name = Text::from(*topic);
        (topic_name.clone(), TopicConfig { topic_name, ..TopicConfig::default() })
    };
    RegisterBrokerBody {
        filter_server_list: Some(vec![]),
        topic_config_serialize_wrapper: TopicConfigSerializeWrapper {
            data_version: DataVersion { counter: 1, state_version: 0, timestamp: 7 },
            topic_config_table: topics.iter().map(config).collect(),
            ..TopicConfigSerializeWrapper::default()
        },
    }
}

fn broker(name: &str) -> RegisterBroker {
    RegisterBroker {
        broker_name: name.into(),
        broker_addr: format!("{name}:10911").into(),
        cluster_name: "C".into(),
        ha_server_addr: format!("{name}:10912").into(),
        ..RegisterBroker::default()
    }
}

#[test]
fn a_broker_is_in_the_route_until_its_connection_closes() {
    on_disk(|disk| async move {
        let tasks = TaskSet::new();
        let namesrv = Namesrv::start(local(), disk, &tasks).await.unwrap();
        let (a, b, client) = (Someone::new(&namesrv), Someone::new(&namesrv), Someone::new(&namesrv));
        a.register(broker("a"), &["orders", "x"]).await.unwrap();
        b.register(broker("b"), &["orders", "y"]).await.unwrap();
        assert_eq!(client.route("orders").await.unwrap().broker_datas.len(), 2);
        assert_eq!(client.topics().await, ["orders", "x", "y"]);
        a.leave();
        client.until_gone("x", SOON).await.unwrap();
        let route = client.route("orders").await.unwrap();
        assert_eq!((route.broker_datas.len(), &*route.queue_datas[0].broker_name), (1, "b"));

        let request = UnregisterBroker {
            broker_name: "b".into(),
            broker_addr: "b:10911".into(),
            cluster_name: "C".into(),
            broker_id: 0,
        };
        b.call(request, "").await.unwrap();
        assert_eq!(client.route("orders").await, None);
        let (_, body) = client.call(GetBrokerClusterInfo {}, "").await.unwrap();
        assert_eq!(json::from_slice::<ClusterInfo>(&body), Ok(ClusterInfo::default()));
        namesrv.stop().await;
    });
}

#[test]
fn a_broker_that_dialled_again_outlives_its_first_connection() {
    on_disk(|disk| async move {
        let tasks = TaskSet::new();
        let namesrv = Namesrv::start(local(), disk, &tasks).await.unwrap();
        let (first, second, client) =
            (Someone::new(&namesrv), Someone::new(&namesrv), Someone::new(&namesrv));
        first.register(broker("a"), &["x", "y"]).await.unwrap();
        second.register(broker("a"), &["x", "y"]).await.unwrap();
        first.leave();
        sleep(Duration::from_millis(200)).await;
        assert!(client.route("x").await.is_some());
        second.leave();
        client.until_gone("x", SOON).await.unwrap();
    });
}

#[test]
fn old_clients_get_the_old_dialect() {
    on_disk(|disk| async move {
        let tasks = TaskSet::new();
        let namesrv = Namesrv::start(local(), disk, &tasks).await.unwrap();
        let (a, client) = (Someone::new(&namesrv), Someone::new(&namesrv));
        a.register(broker("a"), &["x", "y"]).await.unwrap();
        let ask = |version: i32, standard: Option<bool>| {
            let request = GetRouteInfoByTopic {
                topic: "x".into(),
                accept_standard_json_only: standard,
                ..GetRouteInfoByTopic::default()
            };
            Command { version, ..Command::request(&request, Bytes::new()) }
        };
        for (version, standard, addresses) in [
            (317, None, r#"{0:"a:10911"}"#),
            (400, Some(false), r#"{0:"a:10911"}"#),
            (317, Some(true), r#"{"0":"a:10911"}"#),
            (401, None, r#"{"0":"a:10911"}"#),
        ] {
            let body = client.raw(ask(version, standard)).await.body;
            let body = std::str::from_utf8(&body).unwrap();
            assert!(
                body.contains(&format!(r#""brokerAddrs":{addresses}"#)),
                "{version} {standard:?}: {body}"
            );
        }
    });
}

#[test]
fn a_registration_is_answered_in_both_forms_and_only_sent_again_when_changed() {
    on_disk(|disk| async move {
        let tasks = TaskSet::new();
        let namesrv = Namesrv::start(local(), disk, &tasks).await.unwrap();
        let (a, client) = (Someone::new(&namesrv), Someone::new(&namesrv));
        let query = || QueryDataVersion {
            broker_name: "a".into(),
            broker_addr: "a:10911".into(),
            cluster_name: "C".into(),
            broker_id: 0,
        };
        let version = |counter| json::to_vec(&DataVersion { counter, state_version: 0, timestamp: 7 });
        let (reply, body) = a.call(query(), version(1)).await.unwrap();
        assert_eq!((reply.changed, body.len()), (true, 0));

        // As 5.x brokers do it: compressed, and said not to be.
        let body = registration(&["x", "y"]).encode_compressed(protocol::version::OURS);
        a.call(RegisterBroker { body_crc32: crc31(&body), ..broker("a") }, body).await.unwrap();
        assert_eq!(client.topics().await, ["x", "y"]);
        let (reply, body) = a.call(query(), version(1)).await.unwrap();
        assert_eq!((reply.changed, &body[..]), (false, &version(1)[..]));
        assert!(a.call(query(), version(2)).await.unwrap().0.changed);

        // Answers carry what is known of ordered topics.
        let put =
            PutKvConfig { namespace: "ORDER_TOPIC_CONFIG".into(), key: "x".into(), value: "a:4".into() };
        client.call(put, "").await.unwrap();
        let (_, body) = a.call(broker("a"), json::to_vec(&registration(&["x", "y"]))).await.unwrap();
        assert_eq!(json::from_slice::<KvTable>(&body).unwrap().table["x"], "a:4");
        assert_eq!(client.route("x").await.unwrap().order_topic_conf, None);
        client.call(UpdateNamesrvConfig {}, "orderMessageEnable=true").await.unwrap();
        assert_eq!(client.route("x").await.unwrap().order_topic_conf.as_deref(), Some("a:4"));

        let slave = RegisterBroker { broker_addr: "s:1".into(), broker_id: 1, ..broker("a") };
        let reply = Someone::new(&namesrv).register(slave, &["x", "y"]).await.unwrap();
        assert_eq!(
            (reply.master_addr.as_deref(), reply.ha_server_addr.as_deref()),
            (Some("a:10911"), Some("a:10912"))
        );

        let wiped = client.call(WipeWritePermOfBroker { broker_name: "a".into() }, "").await.unwrap().0;
        assert_eq!((wiped.wipe_topic_count, client.route("x").await.unwrap().queue_datas[0].perm), (2, 4));
        let added = client.call(AddWritePermOfBroker { broker_name: "a".into() }, "").await.unwrap().0;
        assert_eq!((added.add_topic_count, client.route("x").await.unwrap().queue_datas[0].perm), (2, 6));
    });
}

#[test]
fn what_operators_set_survives_a_restart() {
    on_disk(|disk| async move {
        let tasks = TaskSet::new();
        let namesrv = Namesrv::start(local(), disk.clone(), &tasks).await.unwrap();
        let someone = Someone::new(&namesrv);
        let (namespace, key) = (Text::from("ns"), Text::from("k"));
        for value in ["1", "2"] {
            let put = PutKvConfig { namespace: namespace.clone(), key: key.clone(), value: value.into() };
            someone.call(put, "").await.unwrap();
        }
        someone.call(UpdateNamesrvConfig {}, "enableTopicList=false\n").await.unwrap();
        let stored = disk.read_small("namesrv/namesrv.properties").await.unwrap();
        assert!(String::from_utf8(stored).unwrap().contains("enableTopicList=false\n"));
        let (_, printed) = someone.call(GetNamesrvConfig {}, "").await.unwrap();
        assert!(std::str::from_utf8(&printed).unwrap().contains("scanNotActiveBrokerInterval=5000\n"));
        namesrv.stop().await;

        let namesrv = Namesrv::start(local(), disk.clone(), &tasks).await.unwrap();
        let someone = Someone::new(&namesrv);
        let get = || GetKvConfig { namespace: namespace.clone(), key: key.clone() };
        assert_eq!(someone.call(get(), "").await.unwrap().0.value.as_deref(), Some("2"));
        let list = GetKvListByNamespace { namespace: namespace.clone() };
        let (_, body) = someone.call(list, "").await.unwrap();
        assert_eq!(json::from_slice::<KvTable>(&body).unwrap().table["k"], "2");
        let delete = DeleteKvConfig { namespace: namespace.clone(), key: key.clone() };
        someone.call(delete, "").await.unwrap();
        assert_eq!(someone.refused(get(), "").await.0, code::QUERY_NOT_FOUND);
        namesrv.stop().await;

        disk.replace_small("namesrv/kvConfig.json", b"{\"configTable\":{").await.unwrap();
        let refused = Namesrv::start(local(), disk, &tasks).await.err().unwrap();
        assert!(matches!(refused, StartError::KvDamaged { .. }), "{refused}");
    });
}

#[test]
fn a_start_that_fails_says_what_to_do() {
    on_disk(|disk| async move {
        let tasks = TaskSet::new();
        let namesrv = Namesrv::start(local(), disk.clone(), &tasks).await.unwrap();
        let taken = Config { listen_port: namesrv.address().port(), ..local() };
        let error = Namesrv::start(taken, disk.clone(), &tasks).await.err().unwrap().to_string();
        assert!(error.contains("is another name server running? listenPort chooses another port"), "{error}");
        let nowhere = Config { bind_address: "here".into(), ..local() };
        let error = Namesrv::start(nowhere, disk, &tasks).await.err().unwrap().to_string();
        assert!(error.contains("bindAddress \"here\" is not an IP address"), "{error}");
    });
}

#[test]
fn what_cannot_be_done_is_refused_with_its_code() {
    on_disk(|disk| async move {
        let tasks = TaskSet::new();
        let namesrv = Namesrv::start(local(), disk, &tasks).await.unwrap();
        let s = Someone::new(&namesrv);
        let route = GetRouteInfoByTopic { topic: "none".into(), ..GetRouteInfoByTopic::default() };
        let body = json::to_vec(&registration(&["x", "y"]));
        let config = UpdateNamesrvConfig {};
        for ((code, remark), expected, said) in [
            (s.refused(route, "").await, 17, "no route to topic none"),
            (
                s.refused(GetKvConfig { namespace: "n".into(), key: "k".into() }, "").await,
                22,
                "no value for key k",
            ),
            (
                s.refused(GetKvListByNamespace { namespace: "n".into() }, "").await,
                22,
                "no keys in namespace n",
            ),
            (s.refused(RegisterBroker { body_crc32: 1, ..broker("a") }, body).await, 1, "crc32 not match"),
            (s.refused(broker("a"), "{{{").await, 1, "body:"),
            (s.refused(broker("a"), json::to_vec(&registration(&["x"]))).await, 1, "register broker failed"),
            (
                s.refused(config.clone(), "configBlackList=x").await,
                16,
                "configBlackList and cannot be changed",
            ),
            (s.refused(config.clone(), "rocketmqHome=x").await, 16, "rocketmqHome"),
            (s.refused(config.clone(), "listenPort=1").await, 29, "cannot change while the program runs"),
            (s.refused(config.clone(), "scanNotActiveBrokerInterval=x").await, 29, "a whole number"),
            (s.refused(config.clone(), "enableTopicLists=true").await, 29, "did you mean `enableTopicList`?"),
            (
                s.refused(PullMessage { topic: "x".into(), ..PullMessage::default() }, "").await,
                3,
                "request type 11",
            ),
        ] {
            assert_eq!(code, expected, "{remark}");
            assert!(remark.contains(said), "{remark}");
        }
        s.call(config, "enableTopicList=false\nenableAllTopicList=false\nneedWaitForService=true")
            .await
            .unwrap();
        assert_eq!(s.refused(GetAllTopicListFromNamesrv {}, "").await.0, 1);
        assert_eq!(s.refused(GetSystemTopicListFromNamesrv {}, "").await.0, 1);
        let route = GetRouteInfoByTopic { topic: "x".into(), ..GetRouteInfoByTopic::default() };
        assert!(s.refused(route, "").await.1.contains("not ready"));
        let mut no_topic = Command::request(&GetAllTopicListFromNamesrv {}, Bytes::new());
        no_topic.code = GetRouteInfoByTopic::CODE;
        let answer = s.raw(no_topic).await;
        assert_eq!((answer.code, answer.remark.as_deref()), (1, Some("the header field `topic` is missing")));
    });
}

#[test]
fn brokers_left_behind_are_told_of_the_smallest_id() {
    on_disk(|disk| async move {
        let tasks = TaskSet::new();
        let config = Config { notify_min_broker_id_changed: true, ..local() };
        let namesrv = Namesrv::start(config, disk, &tasks).await.unwrap();
        let (heard, mut told) = mpsc::channel(4);
        let server = net::Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let slave_address = server.local_addr().to_string();
        let _slave = server.start(Arc::new(Heard(heard)), &tasks, net::Limits::server());

        let acting = |header| RegisterBroker { enable_acting_master: Some(true), ..header };
        let (master, slave) = (Someone::new(&namesrv), Someone::new(&namesrv));
        master.register(acting(broker("a")), &["x", "y"]).await.unwrap();
        let header =
            RegisterBroker { broker_addr: slave_address.clone().into(), broker_id: 1, ..broker("a") };
        slave.register(acting(header), &["x", "y"]).await.unwrap();
        master.leave();
        let command = timeout(SOON, told.recv()).await.unwrap().unwrap();
        assert!(command.is_oneway());
        let news = NotifyMinBrokerIdChange::read(&command.ext).unwrap();
        assert_eq!((command.code, news.min_broker_id), (NotifyMinBrokerIdChange::CODE, Some(1)));
        assert_eq!(news.min_broker_addr.as_deref(), Some(&*slave_address));
        assert_eq!(news.offline_broker_addr.as_deref(), Some("a:10911"));
    });
}

/// Hours of silence cost nothing here.
#[cfg(madsim)]
mod simulated {
    use super::*;
    use world::World;

    /// Registers a broker, keeps silent, and tells when the route was gone.
    async fn silence(disk: Disk, header: RegisterBroker, within: Duration) -> Option<Duration> {
        let tasks = TaskSet::new();
        let namesrv = Namesrv::start(local(), disk, &tasks).await.unwrap();
        let (a, client) = (Someone::new(&namesrv), Someone::new(&namesrv));
        a.register(header, &["x", "y"]).await.unwrap();
        client.until_gone("x", within).await
    }

    #[test]
    fn a_silent_broker_leaves_in_its_time_and_one_scan() {
        on_disk(|disk| async move {
            let gone = silence(disk, broker("a"), Duration::from_secs(200)).await.unwrap();
            assert!((120.0..=125.1).contains(&gone.as_secs_f64()), "{gone:?}");
        });
        on_disk(|disk| async move {
            let header = RegisterBroker { heartbeat_timeout_millis: Some(10_000), ..broker("a") };
            let gone = silence(disk, header, Duration::from_secs(200)).await.unwrap();
            assert!((10.0..=15.1).contains(&gone.as_secs_f64()), "{gone:?}");
        });
    }

    #[test]
    fn planted_a_silent_broker_never_leaves() {
        on_disk(|disk| async move {
            World::current().plant("M28");
            assert_eq!(silence(disk, broker("a"), Duration::from_secs(300)).await, None);
        });
    }

    #[test]
    fn planted_the_end_of_an_old_connection_erases_a_fresh_registration() {
        on_disk(|disk| async move {
            World::current().plant("M29");
            let tasks = TaskSet::new();
            let namesrv = Namesrv::start(local(), disk, &tasks).await.unwrap();
            let (first, second) = (Someone::new(&namesrv), Someone::new(&namesrv));
            first.register(broker("a"), &["x", "y"]).await.unwrap();
            second.register(broker("a"), &["x", "y"]).await.unwrap();
            first.leave();
            second.until_gone("x", SOON).await.unwrap();
        });
    }
}

/// Longer than any pause of a slow machine.
const SOON: Duration = Duration::from_secs(60);
