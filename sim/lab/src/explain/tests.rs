//! Stories of known bugs, told from small histories, and pages that nothing in them can break.

use bytes::{Bytes, BytesMut};
use protocol::Command;
use protocol::record::{NewRecord, Place, place};
use protocol::rpc::UpdateConsumerOffset;

use super::detail::{Detail, Fall, Fallen, Note};
use super::*;
use crate::history::{
    Broker, Fit, GroupId, HALF, Half, HalfId, How, Kind, Member, MemberId, Message, MessageId, NodeId,
    Outcome, QueueContent, QueueId, SCHEDULE, Slot, Writer,
};
use crate::outcome::Verdict;
use crate::report::failure_page;
use crate::swarm;

/// A history in the making: topic `t` with one queue on `b0`, producer `p0`, group `g` with member `c0`.
struct Script {
    history: History,
    audit: Audit,
    now_ns: u64,
}

const OURS: MessageId = MessageId(0);
const LATER: MessageId = MessageId(1);
const MEMBER: MemberId = MemberId(0);
const GROUP: GroupId = GroupId(0);

impl Script {
    fn new(topic: &str) -> Self {
        let mut history = History::default();
        history.node("lab");
        let (topic, broker) = (history.topic(topic), history.node("b0"));
        history.brokers.push(Broker { node: broker, sync_flush: true });
        let producer = history.node("p0");
        history.producers.push(Writer { node: producer, group: 0, limit_ms: 3000, checks: 0 });
        history.new_group("g", topic, 1);
        let node = history.node("c0");
        history.members.push(Member { group: GROUP, node });
        history.topic(SCHEDULE);
        history.topic(HALF);
        for serial in 0..2 {
            history.message(Message {
                producer: 0,
                serial,
                topic,
                tag: 0,
                attempts: 1,
                batch: None,
                delay_level: None,
                transactional: false,
            });
        }
        Self { history, audit: Audit::default(), now_ns: 0 }
    }

    fn queue(&mut self, topic: &str) -> QueueId {
        let (topic, broker) = (self.history.topic(topic), self.history.node("b0"));
        self.history.queue(topic, broker, 0)
    }

    fn slot(&mut self, topic: &str, offset: u64) -> Slot {
        Slot { queue: self.queue(topic), offset }
    }

    fn on(&mut self, node: &str, kind: Kind) -> usize {
        self.now_ns += 1_000_000;
        let node = self.history.node(node);
        self.history.push(self.now_ns, node, kind);
        self.history.events.len() - 1
    }

    fn enter(&mut self, slot: Slot, message: MessageId, times: u32) -> usize {
        self.on("c0", Kind::Enter { member: MEMBER, slot, message: Some(message), fit: Fit::WHOLE, times })
    }

    fn exit(&mut self, slot: Slot, ok: bool) -> usize {
        self.on("c0", Kind::Exit { member: MEMBER, slot, ok })
    }

    fn found(&mut self, topic: &str, read: &[(u64, MessageId)]) {
        let queue = self.queue(topic);
        let read = read.iter().map(|&(offset, message)| crate::history::Read {
            offset,
            message: Some(message),
            fit: Fit::WHOLE,
            unique: 0,
            times: 0,
            stored_ms: 0,
        });
        let read: Vec<_> = read.collect();
        self.audit.queues.push(QueueContent {
            queue,
            min: 0,
            max: read.len() as u64,
            read,
            searched: Vec::new(),
        });
    }

    fn page(&self, rule: Rule, event: usize, witness: &str, sentence: &str, detail: &Detail) -> Page {
        let at_ns = self.history.events[event].at_ns;
        let violation =
            Violation { rule, at_ns, event, witness: witness.to_owned(), sentence: sentence.to_owned() };
        let plan = swarm::plain("first_message", 7, swarm::Size::QUICK);
        let run = Run { violations: vec![violation.clone()], ..Run::of("first_message", 7, Verdict::Fail) };
        let shrinking = Shrinking { tried: 12, minimal: true, ..Shrinking::default() };
        let again = Again { replay: "cargo sim replay x.json".to_owned(), ..Again::default() };
        explain(Case {
            plan: &plan,
            original: &plan,
            run: &run,
            violation: &violation,
            history: &self.history,
            audit: &self.audit,
            detail,
            shrinking: &shrinking,
            passing: None,
            needed: &[],
            again: &again,
        })
    }
}

fn red(page: &Page) -> Vec<(&'static str, Tone, &str)> {
    page.story.wrong().map(|line| (line.step, line.tone, line.text.as_str())).collect()
}

/// M01, M03: answered before the sync, and the power goes.
#[test]
fn a_lost_message_was_answered_before_the_sync_and_cut_off_by_the_recovery() {
    let mut script = Script::new("t");
    let slot = script.slot("t", 0);
    script.on("p0", Kind::Send { message: OURS });
    script.on("b0", Kind::Append { slot, position: 100, end: 300 });
    script.on("b0", Kind::Acked { slot, end: 300, code: 0 });
    let returned = script.on("p0", Kind::Sent { message: OURS, outcome: Outcome::Ok, at: Some(slot) });
    script.on("b0", Kind::Down { how: How::Power });
    script.on("b0", Kind::Up);
    script.on("b0", Kind::Recovered { end: 100 });
    let again = script.on("b0", Kind::Append { slot, position: 100, end: 280 });
    script.on("p0", Kind::Sent { message: LATER, outcome: Outcome::Ok, at: Some(slot) });
    script.on("lab", Kind::Drained { rest: 0 });
    script.found("t", &[(0, LATER)]);
    let record = |size: usize| {
        let mut bytes = vec![0; 4096];
        bytes[100..100 + size].fill(7);
        bytes
    };
    let file = Fallen {
        path: "store/commitlog/00".to_owned(),
        before: record(200),
        synced: vec![0; 4096],
        after: Some(vec![0; 4096]),
    };
    let fall = Fall { at_ns: 5_000_000, node: "b0".to_owned(), power: true, files: vec![file], others: 3 };
    let detail = Detail { falls: vec![fall], ..Detail::default() };
    let page = script.page(Rule::Ack1, returned, "p0#0 at t/b0/0 offset 0", "Message p0#0 is gone.", &detail);
    let red = red(&page);
    assert_eq!((red[0].0, red[0].1), ("answer", Tone::Wrong));
    assert!(red[0].2.contains("answered before the sync"), "{}", red[0].2);
    assert_eq!((red[1].0, red[1].1), ("recover", Tone::Noticed));
    assert!(red[1].2.contains("gone, though its producer was told"), "{}", red[1].2);
    assert!(red.iter().any(|(step, _, text)| *step == "append" && text.contains("given to p0#1")));
    assert!(
        red.iter().any(|(_, tone, text)| *tone == Tone::Missing && text.contains("In the end p0#1 is there"))
    );
    assert!(page.story.lines.iter().any(|line| line.event == again));
    let death = &page.deaths[0];
    assert!(death.power && death.recovered == Some(100));
    assert_eq!((death.files[0].written, death.files[0].at_risk, death.files[0].lost), (300, 1, 1));
    let cause = page.cause.as_ref().unwrap();
    assert!(cause.is_known && cause.text.contains("answered before the sync"));
    assert_eq!((cause.node.as_str(), cause.expected.contains("durable up to 300")), ("b0", true));
    assert_eq!(death.records.len(), 0, "these are no records");
    assert_eq!((death.sectors[0].from, death.sectors[0].until, death.sectors[0].synced), (0, 512, true));
}

/// M19: the highest finished offset is committed, not the lowest unfinished one.
#[test]
fn a_committed_offset_that_passes_an_unconsumed_message_is_red() {
    let mut script = Script::new("t");
    let (first, second) = (script.slot("t", 0), script.slot("t", 1));
    for (slot, message) in [(first, OURS), (second, LATER)] {
        script.on("b0", Kind::Append { slot, position: slot.offset * 100, end: slot.offset * 100 + 100 });
        script.on("p0", Kind::Sent { message, outcome: Outcome::Ok, at: Some(slot) });
        script.enter(slot, message, 0);
    }
    script.exit(second, true);
    let queue = first.queue;
    let stored = script.on("b0", Kind::Stored { group: GROUP, queue, offset: 2 });
    script.on("b0", Kind::OffsetsPersisted);
    script.exit(first, true);
    let sentence = "At 0.008 s group g committed 2 in t/b0/0, but offset 0 was consumed only at 0.010 s.";
    let page = script.page(Rule::Con2, stored, "t/b0/0 offset 0", sentence, &Detail::default());
    let red = red(&page);
    assert_eq!(red.len(), 1, "{red:?}");
    assert!(red[0].0 == "commit" && red[0].2.contains("not through with offset 0"), "{}", red[0].2);
    assert!(page.story.lines.iter().any(|line| line.step == "persist"), "what became of the commit is told");
    let row = page.grids[0].rows.iter().find(|row| row.moves).unwrap();
    assert_eq!((row.committed, row.marked), (Some(2), true));
}

/// The same, and who sent it is known.
#[test]
fn the_member_that_sends_a_wrong_offset_decided_it_and_not_the_broker_that_takes_it() {
    let mut script = Script::new("t");
    let slots = [script.slot("t", 0), script.slot("t", 1)];
    for (slot, message) in slots.into_iter().zip([OURS, LATER]) {
        script.on("b0", Kind::Append { slot, position: slot.offset * 100, end: slot.offset * 100 + 100 });
        script.on("p0", Kind::Sent { message, outcome: Outcome::Ok, at: Some(slot) });
        script.enter(slot, message, 0);
    }
    script.exit(slots[1], true);
    let sends =
        UpdateConsumerOffset { consumer_group: "g".into(), topic: "t".into(), queue_id: 0, commit_offset: 2 };
    let mut bytes = BytesMut::new();
    Command { opaque: 5, ..Command::request(&sends, Bytes::new()) }.encode(&mut bytes).unwrap();
    let queue = slots[0].queue;
    let stored = script.on("b0", Kind::Stored { group: GROUP, queue, offset: 2 });
    let until = script.now_ns;
    script.exit(slots[0], true);
    let note = |at_ns, node, kind, numbers: &[u64], bytes: &[u8]| Note {
        at_ns,
        node,
        kind,
        numbers: numbers.to_vec(),
        bytes: bytes.to_vec(),
    };
    let nodes = [("c0", "10.0.3.1"), ("b0", "10.0.1.1")];
    let detail = Detail {
        nodes: nodes.map(|(name, ip)| (name.to_owned(), ip.to_owned())).into(),
        notes: vec![
            note(1, 0, "connect", &[0], b"10.0.3.1:40000 10.0.1.1:10911"),
            note(until - 300_000, 0, "sent", &[0, 0], &bytes),
            note(until, 1, "arrive", &[0, 0], &bytes),
        ],
        ..Detail::default()
    };
    let sentence = "At 0.008 s group g committed 2 in t/b0/0, but offset 0 was consumed only at 0.010 s.";
    let page = script.page(Rule::Con2, stored, "t/b0/0 offset 0", sentence, &detail);
    let cause = page.cause.as_ref().unwrap();
    assert_eq!((cause.node.as_str(), cause.at_ns, cause.is_known), ("c0", Some(until - 300_000), true));
    assert!(cause.text.contains("c0 sends commitOffset 2"), "{}", cause.text);
    assert!(
        cause.expected.starts_with("at most 0,") && cause.expected.contains("p0#0"),
        "{}",
        cause.expected
    );
    assert!(cause.actual.contains("commitOffset 2"), "{}", cause.actual);
    assert!(cause.noticed[0].contains("b0 takes the committed offset 2"), "{:?}", cause.noticed);
    assert!(cause.hangs.iter().any(|it| it.name == "threads"));
    let neighbours = page.story.lines.iter().filter(|line| line.text.contains("neighbour"));
    assert_eq!(neighbours.count(), 2, "the next offset is got and done before");
}

/// M35: a producer is asked before its time.
#[test]
fn a_question_that_comes_too_early_says_when_it_is_allowed_and_by_which_option() {
    let mut script = Script::new("t");
    script.history.messages[0].transactional = true;
    script.history.halves.push(Half { broker: NodeId(1), message: Some(OURS) });
    script.queue(HALF);
    let half = HalfId(0);
    script.on("p0", Kind::Send { message: OURS });
    script.on("b0", Kind::HalfStored { half, offset: 0, end: 100, immunity_ms: 3000 });
    let asked = script.on("b0", Kind::HalfChecked { half, checks: 1 });
    let sentence = "A producer was asked about half 0 (p0#0) 0.001 s after it was stored; it may be asked from 3.000 s on.";
    let page = script.page(Rule::Txn5, asked, "half 0 (p0#0)", sentence, &Detail::default());
    let cause = page.cause.as_ref().unwrap();
    assert!(cause.is_known && cause.node == "b0");
    assert!(
        cause.expected.contains("from 3.002000 s on") && cause.expected.contains("transactionTimeOut"),
        "{}",
        cause.expected
    );
    assert!(cause.actual.contains("0.001 s after"), "{}", cause.actual);
    assert_eq!(cause.clause, Some("Nobody is asked before the immunity is over."));
    assert!(cause.hangs.iter().any(|it| it.name == "transactionTimeOut"));
}

/// B24: a start puts records of a deleted topic back into its queues.
#[test]
fn a_record_of_a_deleted_topic_goes_wrong_where_it_is_put_back_and_not_where_it_is_delivered() {
    let mut script = Script::new("t");
    let slot = script.slot("t", 0);
    let (topic, broker) = (script.history.topic("t"), script.history.node("b0"));
    script.on("p0", Kind::Send { message: OURS });
    script.on("b0", Kind::Append { slot, position: 0, end: 100 });
    script.on("p0", Kind::Sent { message: OURS, outcome: Outcome::Ok, at: Some(slot) });
    script.on("b0", Kind::TopicUnlisted { topic, broker });
    script.history.delete_queues(topic, broker, 100);
    script.on("b0", Kind::TopicDeleted { topic, broker });
    let logs = vec!["0.006500 b0 WARN store::recover: all are made anew".to_owned()];
    script.on("b0", Kind::Down { how: How::Power });
    script.on("b0", Kind::Up);
    let back = script.on("b0", Kind::Dispatched { slot });
    script.on("b0", Kind::TopicSet { topic, broker, read: 1, write: 1 });
    let got = script.enter(slot, OURS, 0);
    script.history.renew(topic, broker);
    script.queue("t");
    let sentence = "Message p0#0 was delivered from t/b0/0 offset 0, after the topic it lay in was deleted.";
    let detail = Detail { logs, ..Detail::default() };
    let page = script.page(Rule::Ack3, got, "p0#0 at t/b0/0 offset 0", sentence, &detail);
    let red = red(&page);
    assert_eq!(
        red.iter().map(|it| (it.0, it.1)).collect::<Vec<_>>(),
        [("dispatch", Tone::Wrong), ("listener", Tone::Noticed)]
    );
    let cause = page.cause.as_ref().unwrap();
    assert_eq!(cause.at_ns, Some(script.history.events[back].at_ns));
    assert!(cause.expected.contains("no entry for the record at 0 to 100"), "{}", cause.expected);
    let steps: Vec<_> = page.story.lines.iter().map(|line| line.step).collect();
    assert!(steps.contains(&"delete") && steps.contains(&"make"), "{steps:?}");
    let warning = page.story.lines.iter().position(|line| line.step == "log").unwrap();
    assert!(page.story.lines[warning].text.contains("made anew"));
    assert!(
        page.story.lines[warning - 1].at_ns < 6_500_000 && page.story.lines[warning + 1].at_ns > 6_500_000
    );
    let grid = &page.grids[0];
    assert!(grid.lives.contains("deleted at") && grid.rows.iter().any(|row| row.cut), "{grid:?}");
}

/// M10: a recovery keeps a record of which a sector was lost.
#[test]
fn a_damaged_record_goes_wrong_where_the_recovery_keeps_it_and_not_where_it_is_found() {
    let mut script = Script::new("t");
    script.history.brokers[0].sync_flush = false;
    let slot = script.slot("t", 0);
    let host = "10.0.0.1:10911".parse().unwrap();
    let record = NewRecord {
        topic: "t",
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 5,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_offset: 0,
        body: &[7; 900],
        properties: b"",
        added: b"",
    };
    let mut bytes = BytesMut::new();
    record.encode(&mut bytes);
    place(&mut bytes, Place { queue_offset: 0, position: 0, store_timestamp: 7 });
    let end = bytes.len() as u64;
    script.on("b0", Kind::Append { slot, position: 0, end });
    script.on("b0", Kind::Acked { slot, end, code: 0 });
    script.on("p0", Kind::Sent { message: OURS, outcome: Outcome::Ok, at: Some(slot) });
    script.on("b0", Kind::Down { how: How::Power });
    let died = script.now_ns;
    script.on("b0", Kind::Up);
    let kept = script.on("b0", Kind::Recovered { end });
    script.on("lab", Kind::Drained { rest: 0 });
    let stopped = script.on("b0", Kind::Down { how: How::Stop });
    let mut before = bytes.to_vec();
    before.resize(4096, 0);
    let mut after = before.clone();
    after[512..1024].fill(0);
    let path = "store/commitlog/00000000000000000000".to_owned();
    let file = Fallen { path, before, synced: vec![0; 4096], after: Some(after) };
    let fall = Fall { at_ns: died, node: "b0".to_owned(), power: true, files: vec![file], others: 3 };
    let detail = Detail { falls: vec![fall], ..Detail::default() };
    let sentence = "In the files of b0 (at the end) the record at 0 does not fit its checksum.";
    let page = script.page(Rule::Log5, stopped, "b0", sentence, &detail);
    assert_eq!(page.story.about, "message p0#0 to t", "the record that the sentence names");
    let cause = page.cause.as_ref().unwrap();
    assert_eq!(cause.at_ns, Some(script.history.events[kept].at_ns));
    assert!(cause.expected.contains("ends at 0 at most"), "{}", cause.expected);
    assert!(cause.actual.contains(&format!("ends at {end}")), "{}", cause.actual);
    assert!(cause.noticed.iter().any(|it| it.contains("does not fit its checksum")), "{:?}", cause.noticed);
    assert_eq!(cause.clause, Some("Records of the log are whole."));
    let record = &page.deaths[0].records[0];
    assert_eq!((record.after, record.is_broken()), (disk::After::Kept, true));
    assert_eq!((page.deaths[0].sectors[0].from, page.deaths[0].sectors[0].until), (512, 1024));
    let html = failure_page(&page);
    assert!(
        html.contains("damaged, but kept by the recovery") && !html.contains("though it was answered OK")
    );
}

/// M31: a half message comes to its real topic.
#[test]
fn a_half_message_that_is_seen_before_its_commit_is_red_and_one_after_it_is_not() {
    let mut script = Script::new("t");
    script.history.messages[0].transactional = true;
    script.history.halves.push(Half { broker: NodeId(1), message: Some(OURS) });
    script.queue(HALF);
    let (slot, half) = (script.slot("t", 0), HalfId(0));
    script.on("p0", Kind::Send { message: OURS });
    script.on("b0", Kind::HalfStored { half, offset: 0, end: 100, immunity_ms: 6000 });
    script.on("b0", Kind::Dispatched { slot });
    let early = script.enter(slot, OURS, 0);
    script.on("p0", Kind::Decided { message: OURS, commit: Some(true) });
    script.on("b0", Kind::HalfEnded { half, commit: true, mended: false, end: 200 });
    script.enter(slot, OURS, 0);
    let sentence = "Message p0#0 was seen at t/b0/0 offset 0, before any commit of it.";
    let page = script.page(Rule::Txn1, early, "p0#0 at t/b0/0 offset 0", sentence, &Detail::default());
    let red = red(&page);
    assert_eq!(red.iter().map(|it| it.0).collect::<Vec<_>>(), ["dispatch", "listener"]);
    assert!(red.iter().all(|it| it.2.contains("Nobody has committed")));
    assert!(page.story.lines.iter().any(|line| line.step == "end of transaction"));
}

/// M44: after its last try a message is dropped.
#[test]
fn a_dead_letter_that_never_came_is_missing() {
    let mut script = Script::new("t");
    let (slot, wait, retry) = (script.slot("t", 0), script.slot(SCHEDULE, 0), script.slot("%RETRY%g", 0));
    script.on("p0", Kind::Sent { message: OURS, outcome: Outcome::Ok, at: Some(slot) });
    script.enter(slot, OURS, 0);
    script.exit(slot, false);
    script.on(
        "b0",
        Kind::SentBack { group: GROUP, slot, times: 0, level: 3, dead: false, code: 0, to: wait, end: 9 },
    );
    script.on("b0", Kind::DelayDelivered { from: wait, to: retry });
    script.enter(retry, OURS, 1);
    let failed = script.exit(retry, false);
    script.on("lab", Kind::Drained { rest: 0 });
    script.found("t", &[(0, OURS)]);
    let sentence = "Message p0#0 at %RETRY%g/b0/0 offset 0 was never consumed with success by group g.";
    let page =
        script.page(Rule::Con1, failed, "p0#0 at %RETRY%g/b0/0 offset 0", sentence, &Detail::default());
    let red = red(&page);
    assert_eq!(red.len(), 1, "{red:?}");
    assert!(
        red[0].1 == Tone::Missing && red[0].2.contains("A dead letter must be stored then"),
        "{}",
        red[0].2
    );
    assert!(
        page.story.lines.iter().any(|line| line.step == "send back")
            && page.story.lines.iter().any(|line| line.step == "delay")
    );
}

#[test]
fn the_only_fault_that_is_left_is_needed_and_a_point_says_whether_it_was_reached() {
    let mut script = Script::new("t");
    let sent = script.on("p0", Kind::Send { message: OURS });
    let mut page = script.page(Rule::Ack1, sent, "p0#0", "Message p0#0 is gone.", &Detail::default());
    page.faults = vec![schedule::Row {
        from_ns: Some(1),
        until_ns: 2,
        kind: "crash at a point",
        what: "b0 loses power at passage 1 of store.recover.wiped".to_owned(),
        nodes: Vec::new(),
        effects: vec![("node.power".to_owned(), 1)],
        felt: false,
        point: Some(("store.recover.wiped".to_owned(), false)),
    }];
    page.shrinking = Shrinking { tried: 1300, minimal: false, ..Shrinking::default() };
    page.needed = vec!["without the fault \"b0 loses power\".".to_owned()];
    let html = failure_page(&page);
    assert!(html.contains("This fault is needed") && !html.contains("may be needed"));
    assert!(html.contains("the point store.recover.wiped was not reached"));
    assert!(html.contains("1300 runs"), "no space in a number: it can be searched for");
}

#[test]
fn hostile_names_stay_text() {
    let topic = "</script><img src=x onerror='alert(1)'>\"&";
    let mut script = Script::new(topic);
    let slot = script.slot(topic, 0);
    script.on("p0", Kind::Send { message: OURS });
    let returned = script.on("p0", Kind::Sent { message: OURS, outcome: Outcome::Ok, at: Some(slot) });
    script.on("lab", Kind::Drained { rest: 0 });
    let logs = vec![format!("0.0 p0 INFO {topic}")];
    let detail = Detail { logs, ..Detail::default() };
    let html = failure_page(&script.page(Rule::Ack1, returned, "p0#0", &format!("{topic} -->"), &detail));
    assert!(
        !html.contains("<img") && html.matches("</script>").count() == 1 && html.contains("&lt;img src=x")
    );
    let (_, body) = html.split_once("-->").unwrap();
    assert!(!body.contains("-->"), "the first comment ends where it should");
    assert!(!html.contains("http://") && !html.contains("https://"), "nothing is loaded from elsewhere");
    assert!(html.starts_with("<!-- made by: "));
    let parts = ["repeat", "faults", "diagram", "story", "grid", "disk", "passing", "options"];
    let places: Vec<_> = parts.iter().map(|id| html.find(&format!("id=\"{id}\"")).unwrap()).collect();
    assert!(places.is_sorted(), "the parts stand in their order");
}
