//! Stories of known bugs, told from small histories, and pages that nothing in them can break.

use super::detail::{Detail, Fall, Fallen};
use super::story::Tone;
use super::*;
use crate::history::{
    Broker, Fit, Group, GroupId, HALF, Half, HalfId, How, Kind, Member, MemberId, Message, MessageId, NodeId,
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
        history.producers.push(Writer { node: producer, group: 0 });
        let (retry, dlq) = (history.topic("%RETRY%g"), history.topic("%DLQ%g"));
        history.groups.push(Group { name: "g".to_owned(), topic, tag: None, retry, dlq, limit: 1 });
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
    assert_eq!((red[1].0, red[1].1), ("recover", Tone::Wrong));
    assert!(red[1].2.contains("gone, though its producer was told"), "{}", red[1].2);
    assert!(red.iter().any(|(step, _, text)| *step == "append" && text.contains("given to p0#1")));
    assert!(
        red.iter().any(|(_, tone, text)| *tone == Tone::Missing && text.contains("In the end p0#1 is there"))
    );
    assert!(page.story.lines.iter().any(|line| line.event == again));
    let death = &page.deaths[0];
    assert!(death.power && death.recovered == Some(100));
    assert_eq!((death.files[0].written, death.files[0].at_risk, death.files[0].lost), (300, 1, 1));
    assert!(page.cause[0].contains("answered before the sync"));
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
