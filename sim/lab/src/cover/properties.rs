//! The states that runs must come to now and then, each with the bug or rule that it could bring to light: those of the
//! system's own code, where `sometimes!` stands, and those that are told from histories.

/// A state and what it could bring to light.
pub type Property = (&'static str, &'static str);

/// Every property, in order.
pub fn all() -> impl Iterator<Item = &'static Property> {
    SYSTEM.iter().chain(super::told::TOLD)
}

/// Those in the system's code, in order.
pub const SYSTEM: &[Property] = &[
    (
        "broker.config.failed",
        "A topic or group that could not be written and counts as written: ACK-1, CON-1.",
    ),
    ("broker.config.waited", "A message for a topic that is not on the disk yet: ACK-1, CON-1."),
    ("broker.delay.failed_write", "Progress that could not be written and counts as written: DLY-2."),
    (
        "broker.delay.found_delivered",
        "A delayed message that was delivered after the last write of the progress: DLY-2.",
    ),
    ("broker.delay.level_gone", "Messages of a level that is configured no more: DLY-2, DLY-3."),
    ("broker.delay.not_written", "Progress that is ahead of the log on the disk: DLY-2."),
    ("broker.delay.queue_gone", "A delayed message whose queue was taken away: DLY-4, CON-1."),
    ("broker.delay.set_back", "A wall clock that is set back while messages wait: DLY-1, DLY-3."),
    ("broker.delay.trouble", "A level that stops at a failure and does not go on: DLY-3."),
    ("broker.group.changed", "Members that are not told of each other: CON-5, L-3."),
    ("broker.group.left", "A member that leaves and whose queues nobody takes: CON-1, L-3."),
    ("broker.group.lost", "A member whose connection breaks and which stays in its group: CON-5, L-3."),
    ("broker.group.silent", "A member that stands still and keeps its queues: L-3, L-4."),
    (
        "broker.group.unknown",
        "A question for the members of a group that the broker does not know yet: CON-5.",
    ),
    ("broker.offset.capped", "A commit behind the end of a queue that was rewound: CON-2, L-4."),
    ("broker.offset.ignored", "The late commit of an owner before: CON-6."),
    ("broker.offset.unknown", "A group without an offset that begins at a wrong place: CON-1, CON-2."),
    ("broker.offsets.failed", "Offsets that could not be written and count as written: CON-6."),
    ("broker.offsets.rewound", "Stored offsets behind the end of a queue that lost messages: CON-2, L-4."),
    ("broker.pull.hold_over", "A pull whose wait is over and which skips or repeats: CON-3."),
    ("broker.pull.no_group", "A pull before the heartbeat of its member, answered without a filter: CON-7."),
    (
        "broker.pull.none_matched",
        "An answer without a match that does not move on, or moves too far: CON-7, CON-3.",
    ),
    (
        "broker.pull.offset_moved",
        "A member that is sent to another offset and loses what lies between: CON-3, CON-1.",
    ),
    ("broker.pull.parked", "A message that comes between the look and the wait: L-11."),
    ("broker.pull.queue_gone", "A pull from a queue that was taken away meanwhile: CON-1."),
    (
        "broker.pull.woken",
        "A parked pull that the arrival does not wake, or that finds nothing: L-11, CON-3.",
    ),
    (
        "broker.register.again_known",
        "A broker that stays out of the routes when its name server is back: NS-2, L-2.",
    ),
    ("broker.register.failed", "A name server that does not answer and delays the others: NS-2, L-1."),
    ("broker.send.dead", "A retry that its client publishes itself, at its limit: RTY-3."),
    ("broker.send.degraded", "An answer that promises more than the disk has: ACK-5."),
    ("broker.send.queue_gone", "A send to a queue that was taken away meanwhile: ACK-4."),
    (
        "broker.send.retry_published",
        "A retry that its client publishes itself, with a wrong count or delay: RTY-1, RTY-4.",
    ),
    ("broker.send.to_drained_queue", "A message to a queue that writers do not see any more: CON-1."),
    ("broker.send_back.dead", "A message at its limit that is tried again, or dropped: RTY-3, RTY-5."),
    (
        "broker.send_back.degraded",
        "A message given back that a loss of power may take, and its consumer lets go: RTY-2, RTY-5.",
    ),
    ("broker.send_back.missing", "A message that is given back to a broker which lost it: RTY-2."),
    (
        "broker.send_back.retried_again",
        "A message that comes back from its retry: its count, its topic and its first id: RTY-1, RTY-4.",
    ),
    ("broker.transaction.before_flush", "An end that is quicker than the disk: TXN-1, TXN-4."),
    (
        "broker.transaction.check_failed",
        "A half message that cannot be checked and holds up the others: TXN-4.",
    ),
    (
        "broker.transaction.checked_ended",
        "An end for a half message that was checked, by any of its copies: TXN-3, TXN-4.",
    ),
    ("broker.transaction.count_unsure", "A check that goes out before its count is on the disk: TXN-5."),
    (
        "broker.transaction.decided_meanwhile",
        "A half message that ends while its check waits for the disk: TXN-5.",
    ),
    (
        "broker.transaction.deserted",
        "Half messages without a producer whose checks are counted all the same: TXN-5.",
    ),
    ("broker.transaction.ended_before", "A second end of a half message: TXN-2, TXN-3."),
    (
        "broker.transaction.gives_up",
        "A half message given up before its last check, or delivered after: TXN-4, TXN-1.",
    ),
    ("broker.transaction.half_missing", "An end for a half message that a loss of power took: TXN-1, TXN-4."),
    (
        "broker.transaction.loaded_copy",
        "Two copies of one half message after a restart, taken for two: TXN-3, TXN-5.",
    ),
    (
        "broker.transaction.loaded_ended",
        "A half message that ended before the restart and is asked about again: TXN-3, TXN-5.",
    ),
    (
        "broker.transaction.met_another",
        "An end that meets a check or another end of the same half message: TXN-2, TXN-3.",
    ),
    ("broker.transaction.older_copy", "An end that names an older copy of its half message: TXN-2, TXN-4."),
    ("broker.transaction.owed", "A check that was counted before a crash and goes out after it: TXN-5."),
    (
        "broker.transaction.producer_back",
        "Half messages whose producer comes back and which nobody asks about any more: TXN-4.",
    ),
    (
        "broker.transaction.queue_gone",
        "A commit to a queue that was taken away since the half message was sent: TXN-4, CON-1.",
    ),
    (
        "client.back.copied",
        "A copy that goes to the retry topic when the broker does not take the message back: RTY-1, RTY-4.",
    ),
    ("client.back.nowhere", "A message that neither its broker nor the retry topic takes: RTY-2, RTY-5."),
    ("client.beat.failed", "A heartbeat that is lost: a member that its broker does not know: CON-5, L-3."),
    ("client.commit.failed", "A commit that does not arrive and is not told again: CON-1, CON-4."),
    (
        "client.consume.back_failed",
        "A message that cannot be given back and is lost, or lets the offset pass: RTY-2.",
    ),
    ("client.consume.partly", "A batch of which a part is done: CON-2, RTY-1."),
    (
        "client.consume.taken_before",
        "A message whose queue goes to another member before its listener begins: CON-4, CON-5.",
    ),
    (
        "client.consume.taken_meanwhile",
        "A rebalance that takes a queue while its listener runs: CON-5, CON-6.",
    ),
    ("client.members.some_silent", "A list of members from some brokers only: CON-5."),
    ("client.pull.busy", "A broker that asks for a pause, and members that turn in a circle: L-4."),
    ("client.pull.failed", "A pull that fails: the next one skips or repeats: CON-3."),
    ("client.pull.not_known", "A broker that was restarted and does not know its members: CON-7, L-3."),
    ("client.pull.rewound", "A queue that lost its end while a member stands behind it: CON-3, L-4."),
    ("client.pull.tag_collision", "Tags that share a hash: CON-7."),
    (
        "client.pull.topic_gone",
        "A topic that is deleted while a member stands in the midst of it: CON-1, CON-2.",
    ),
    ("client.query.incomplete", "A query that passes off a part as all there is: IDX-1."),
    ("client.route.changed", "A route that changes under the feet of those who share queues: CON-5, CON-1."),
    (
        "client.route.from_other",
        "The route that the second name server gives after the first failed: L-1, NS-1.",
    ),
    ("client.route.missing", "A topic without a route: its clients give up for good: L-2, L-4."),
    ("client.route.old", "A route that cannot be asked for: the old one must do: L-1."),
    (
        "client.route.other_server",
        "A name server that does not answer, and clients that do not ask the other one: L-1, L-2.",
    ),
    ("client.send.again", "A send that goes to another broker when the first fails: ACK-6, ACK-8."),
    (
        "client.send.no_time",
        "A send that runs out of time between two attempts and is called refused: ACK-4.",
    ),
    ("client.send.perhaps_twice", "A send that is stored while an earlier attempt may be too: ACK-6, ACK-8."),
    ("client.send.refused", "A send that all brokers refuse, and one has stored: ACK-4."),
    ("client.send.unknown", "A send nobody knows the outcome of, called refused or stored: ACK-4, ACK-1."),
    (
        "client.session.uncommitted",
        "A queue that is let go of with messages between pull and commit: CON-2, CON-4.",
    ),
    (
        "client.share.failed",
        "A member that cannot learn who else is there, and lets go of all or takes all: CON-5.",
    ),
    ("client.share.let_go", "A queue that changes hands without its offset: CON-4, CON-6."),
    ("client.share.took_and_let_go", "A member that gives queues and takes others in one round: CON-5."),
    (
        "client.share.unknown_here",
        "A member that no broker knows yet takes queues, or never does: CON-5, L-3.",
    ),
    ("client.start.failed", "A member that cannot find where to start, and starts anywhere: CON-3, CON-1."),
    ("namesrv.closed", "A broker whose connection closes and which stays in the routes: NS-1."),
    ("namesrv.goodbye", "A broker that said good-bye and stays in the routes: NS-1."),
    (
        "namesrv.heard_elsewhere",
        "The end of an old connection that removes a broker which has come again: NS-2.",
    ),
    ("namesrv.late_goodbye", "A good-bye that comes behind a newer registration: NS-2."),
    ("namesrv.no_route", "A topic that is not there yet, and whose clients never ask again: L-2, L-4."),
    (
        "namesrv.overruled",
        "A registration that comes behind a newer one, on the connection before: NS-2, L-1.",
    ),
    ("net.broken", "A call that was sent and whose connection broke, told to be refused: ACK-4, ACK-6."),
    ("net.dial_refused", "A peer that refuses, and is never dialled again: L-2."),
    ("net.dial_shared", "Callers that wait for one connection: one that is forgotten: L-2, L-9."),
    ("net.dial_timed_out", "A peer that cannot be reached, and is never dialled again: L-2."),
    ("net.ended_in_frame", "A connection that ends behind a part of a frame: ACK-3."),
    ("net.late_answer", "An answer that nobody waits for any more, taken for another one: ACK-2, CON-3."),
    ("net.pausing", "An address that failed: a pause that never ends: L-2."),
    (
        "net.read_failed",
        "A connection that breaks in the midst of a frame: half a request that is handled: ACK-3.",
    ),
    ("net.reads_dropped", "A parked pull whose connection closes and which lives on: L-10, CON-4."),
    (
        "net.silent",
        "A peer that is silent for too long: calls that wait for ever, or a connection that is kept: L-2, L-9.",
    ),
    ("net.timed_out", "A call whose answer does not come in time, told to be refused: ACK-4."),
    ("net.turn_spent", "A connection that gives way to others and is not woken again: L-9, L-11."),
    ("net.work_survives", "A request that changes something while its connection closes: ACK-6, CON-6."),
    ("net.write_blocked", "A peer that takes no bytes: answers that are lost or held for all: L-9."),
    ("net.write_failed", "Answers that cannot be written: their handlers must run to the end: ACK-1, ACK-6."),
    ("store.append.batch_rolled", "A batch that the end of a file parts: ACK-7, LOG-5."),
    ("store.append.clock_behind", "Store times that go back with the clock: LOG-5, IDX-1, DLY-1."),
    ("store.append.disk_full", "A message that is refused for want of space and yet stored: ACK-4."),
    (
        "store.append.no_segment",
        "A send that is answered well although no file could be made for it: ACK-1, ACK-4.",
    ),
    ("store.append.pair_rolled", "A commit that the end of a file parts from its end record: TXN-3."),
    ("store.append.poisoned", "A message taken behind a failed sync: ACK-1, ACK-4."),
    ("store.append.rolled", "A record at the edge of two files that readers or recovery miss: LOG-2, LOG-5."),
    ("store.append.waited", "An append that waits for a file and loses its place to another: LOG-3, ACK-6."),
    (
        "store.checkpoint.failed",
        "A checkpoint that could not be written and is believed all the same: LOG-6.",
    ),
    (
        "store.delete.retried",
        "A topic that is made again takes no message after a deletion that failed: L-2.",
    ),
    ("store.dispatch.blank", "A queue with a hole where the log begins a new file: LOG-2, CON-3."),
    ("store.dispatch.index_busy", "Keys of records that are dispatched while the index is elsewhere: IDX-1."),
    (
        "store.dispatch.noted",
        "A unit or a key that an append noted otherwise than the log has it: LOG-2, IDX-1.",
    ),
    (
        "store.dispatch.partial",
        "A record at the end of what was read of the log, dispatched in part or passed over: LOG-2.",
    ),
    (
        "store.dispatch.waited_for",
        "A question for the end of a queue that comes before what was answered can be read: LOG-3.",
    ),
    (
        "store.durable.failed",
        "A send that waits for a sync which fails, and is told that all is well: ACK-5, ACK-1.",
    ),
    (
        "store.flush.asked",
        "Somebody who waits for the disk under async flush and is not heard until the tick: DLY-2, TXN-6.",
    ),
    ("store.flush.failed", "A failed sync that a later success covers: ACK-1, ACK-5."),
    ("store.flush.overlapped", "A sync that ends before an earlier one and speaks for it: ACK-1."),
    ("store.flush.two_files", "A flush over two files that syncs one of them: ACK-1."),
    (
        "store.index.failed",
        "An index that fails and takes the messages with it, or never comes back: IDX-1, L-2.",
    ),
    ("store.index.no_room", "Keys of a record that do not fit into the index file in use: IDX-1."),
    ("store.index.rolled", "Keys at the edge of two index files: IDX-1."),
    ("store.query.behind", "An index that is behind and answers that there is nothing: IDX-1."),
    ("store.query.chain_shared", "A chain of keys that share a slot, left too early: IDX-1."),
    ("store.query.fresh_chain", "Keys that are in memory only, while the file is asked: IDX-1."),
    ("store.query.two_files", "A question over several index files that stops at the first: IDX-1."),
    ("store.query.waited", "A question that comes before the index has the message: IDX-1."),
    (
        "store.read.behind_end",
        "A reader that stands behind the end of its queue and never comes back: CON-3, L-4.",
    ),
    ("store.read.block", "Older units that come from the wrong file or the wrong place in it: CON-3, LOG-2."),
    (
        "store.read.cold",
        "What comes from the disk is answered unchecked, or from another place: ACK-3, CON-3.",
    ),
    (
        "store.read.unreadable",
        "A record that cannot be read and stops its readers, or is shown all the same: ACK-3, L-4.",
    ),
    (
        "store.recover.after_clean_end",
        "A start that believes less than a clean end promises, or wipes it: LOG-6, ACK-1.",
    ),
    ("store.recover.after_crash", "A start that takes a crash for a clean end: LOG-6."),
    (
        "store.recover.crossed_files",
        "A scan that ends with the first file it reads: what lies behind is lost: ACK-1, LOG-2.",
    ),
    (
        "store.recover.cut",
        "A torn record that is served, or stays in the way of the next: LOG-5, LOG-6, ACK-3.",
    ),
    ("store.recover.no_table", "A start before the first table: queues that begin twice or not at 0: LOG-2."),
    (
        "store.recover.passed_over",
        "Damage in old data behind which everything is thrown away, or which is delivered: ACK-1, ACK-3.",
    ),
    ("store.recover.rebuilt", "Queues made anew that lack messages or have them twice: LOG-2, LOG-1."),
    (
        "store.recover.segment_removed",
        "A file behind the end of the log whose old records come back: LOG-6, ACK-3.",
    ),
    ("store.recover.units_made", "The end of the log that has no units yet: LOG-2, CON-1."),
    (
        "store.recover.unsure_kept",
        "Records that can be read and never reached the disk: a second loss of power takes them: ACK-1.",
    ),
    ("store.segment.again", "A store that refuses messages although there is space again: L-2."),
    ("store.segment.none", "Appends that wait for ever when no file can be made: L-2."),
    (
        "store.settle.failed",
        "A failed write of the queues that leaves a table which says more: LOG-2, LOG-6.",
    ),
    (
        "store.settle.file_left_over",
        "A file of a queue that a crash left behind and is taken for a good one: LOG-2.",
    ),
    (
        "store.settle.given_back",
        "Units whose writing was broken off, and which the next table counts as written: LOG-2.",
    ),
    (
        "store.settle.queue_rolled",
        "A queue that goes over into its next file and loses units there: LOG-2, CON-3.",
    ),
    ("store.space.again", "A store that refuses messages although there is space again: L-2."),
    ("store.space.full", "A full disk that is noticed while messages are on their way: ACK-1, ACK-4."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Rule;
    use crate::cover::{SYSTEM_CRATES, hooks_in};

    #[test]
    fn every_property_of_the_system_has_a_line_here_and_a_place_there() {
        let named: Vec<_> = SYSTEM.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(hooks_in(SYSTEM_CRATES, "sometimes!("), named);
    }

    #[test]
    fn each_property_names_the_rule_that_it_could_break() {
        for (name, exposes) in all().chain(crate::cover::sites::SITES).chain(crate::cover::KNOBS) {
            let named = exposes.rsplit(": ").next().unwrap_or_default();
            let rules = named.trim_end_matches('.').split(", ");
            let known = |id: &str| Rule::ALL.iter().any(|rule| rule.id() == id);
            assert!(rules.clone().count() > 0 && rules.clone().all(known), "{name}: {exposes}");
        }
        let mut names: Vec<_> = all().map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all().count(), "no name twice");
    }
}
