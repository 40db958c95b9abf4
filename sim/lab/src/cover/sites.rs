//! The sites in the system's code where a run may take the rare way: off for the whole run in most of them, firing now and
//! then where they are on; some plans have one that nearly always does. Whatever they choose must be right; each says what it could bring to light.

use super::properties::Property;

/// Every site, in order.
pub const SITES: &[Property] = &[
    ("broker.config.slow", "A topic or group that is used before it is on the disk: ACK-1, CON-1."),
    ("broker.delay.early", "A level that wakes before its message is due: DLY-1."),
    ("broker.delay.short", "A level that goes on from the wrong place after a few messages: DLY-2, DLY-5."),
    ("broker.delay.written_late", "Progress of delays that is old when the end comes: DLY-2."),
    (
        "broker.group.not_told",
        "Members that hear nothing of each other and share queues by the clock: CON-5, L-3.",
    ),
    ("broker.offsets.refused", "Offsets that could not be written and count as written: CON-6."),
    ("broker.offsets.slow", "Commits that come while the offsets are written, and count as written: CON-6."),
    ("broker.offsets.soon", "Offsets that are written while they change: CON-6."),
    ("broker.pull.busy", "A member that is asked to pause and turns in a circle, or stops: L-4, CON-3."),
    (
        "broker.pull.early",
        "A client that skips, or turns in a circle, when the answer of nothing comes early: CON-3, L-11.",
    ),
    ("broker.pull.few_bytes", "Answers that end in the midst of what lies together: CON-3, ACK-7."),
    ("broker.pull.looks_again", "A pull that looks again and waits for what came meanwhile: L-11."),
    (
        "broker.pull.one",
        "Answers of one message: a member that skips when it gets less than it asked for: CON-3.",
    ),
    ("broker.register.again", "A registration that meets the removal of the one before: NS-2."),
    (
        "broker.send.busy",
        "A send that is refused and stored all the same, or whose client does not ask another broker: ACK-4, L-2.",
    ),
    (
        "broker.send.unsure",
        "An answer that says less than is true: a client that sends again, or gives up what is stored: ACK-6, TXN-4.",
    ),
    ("broker.send_back.busy", "A message that its broker does not take back: RTY-2, RTY-4."),
    (
        "broker.transaction.check_slow",
        "An end that comes while a check of the same half message is on its way: TXN-2, TXN-3.",
    ),
    (
        "broker.transaction.end_slow",
        "A check, or another end, that comes while a half message ends: TXN-2, TXN-3.",
    ),
    ("broker.transaction.few", "A round of checks that ends after one half message: TXN-4."),
    (
        "broker.transaction.noted_late",
        "Progress of half messages that is old when the end comes: TXN-3, TXN-6.",
    ),
    (
        "broker.transaction.reads_few",
        "A start that reads half messages one by one and misses one: TXN-4, TXN-6.",
    ),
    ("broker.transaction.skips_round", "Checks that come late: TXN-4, TXN-5."),
    ("client.back.copies", "A message that comes back by a copy alone: RTY-1, RTY-4."),
    (
        "client.beat.soon",
        "Heartbeats that come twice, and a group that is told of a change that is none: CON-5.",
    ),
    ("client.commit.soon", "Commits between any two messages: CON-2, CON-6."),
    ("client.consume.late", "A message that waits long before its listener begins: CON-4, CON-5."),
    ("client.consume.one", "Batches of one message, done out of their order: CON-2."),
    ("client.pull.one", "A pull that does not begin where the one before ended: CON-3."),
    ("client.pull.pauses", "A member that is behind for no reason: CON-3, L-4."),
    ("client.rebalance.again", "Queues that change hands between two commits: CON-4, CON-5."),
    (
        "client.route.other_first",
        "Name servers that are asked in turn and do not know the same: CON-5, NS-1.",
    ),
    ("client.route.soon", "Routes that are asked for while they change: CON-5, L-1."),
    (
        "client.send.impatient",
        "A send that is given up while it is stored, and sent again: ACK-6, ACK-8, ACK-4.",
    ),
    ("client.send.reconnects", "A connection that closes with calls under way: ACK-4, ACK-6."),
    ("client.share.late", "Members that share queues at different times: CON-5, CON-4."),
    ("client.take.late", "A queue that nobody reads for a while after it changed hands: CON-1, CON-3."),
    ("namesrv.file.refused", "A change that is refused, and seen all the same until the next start: NS-4."),
    ("namesrv.file.slow", "A change that is seen before it is on the disk: NS-4."),
    ("net.accept_slow", "Connections that are made and not served yet: NS-1, L-2."),
    ("net.dial_slow", "Callers that wait for one connection, of whom some give up: L-2, ACK-4."),
    ("net.early_timer", "A timer that comes too early and ends what is not over: L-2, ACK-4."),
    ("net.short_turn", "A connection that gives way after each frame and is not woken again: L-9, L-11."),
    ("net.short_write", "Frames that arrive in pieces: ACK-3."),
    ("net.small_turn", "A connection that gives way after each few bytes: L-9, L-11."),
    ("net.woken_again", "A turn for which there is no reason, and which changes something: L-9."),
    (
        "store.append.cold_queue",
        "A queue that is found among all, not among those used lately: ACK-2, LOG-1.",
    ),
    (
        "store.append.refused",
        "What an append was part of, and is half done without it, or forgotten: TXN-4, DLY-2, RTY-2.",
    ),
    ("store.append.roll", "Blanks of every size, and records at the edge of a file: LOG-5, LOG-2."),
    ("store.append.slow", "Sends that overtake each other on their way to the log: LOG-3, ACK-2."),
    ("store.checkpoint.late", "An old checkpoint costs a longer recovery and nothing else: LOG-6."),
    (
        "store.delete.refused",
        "A topic that takes no message, or old ones, after a deletion that failed: L-2, LOG-2.",
    ),
    ("store.dispatch.late", "An acknowledged message that cannot be read yet: ACK-1, CON-3, IDX-1."),
    ("store.dispatch.no_join", "Keys that the index takes in later by itself: IDX-1."),
    (
        "store.dispatch.no_notes",
        "Records that are read from the log as nothing was noted of them: LOG-2, IDX-1.",
    ),
    ("store.dispatch.short", "A record that is cut by the end of what was read: LOG-2."),
    ("store.flush.eager", "A sync that nobody asked for, between two appends of one story: TXN-3, DLY-2."),
    ("store.flush.single", "Syncs that wait for each other: ACK-5, ACK-1."),
    ("store.flush.slow", "Syncs that end in another order than they begin: ACK-1, ACK-5."),
    ("store.index.eager", "An index that takes in each record by itself: IDX-1."),
    ("store.index.settle_early", "A mark that speaks of keys which are not on the disk: IDX-1."),
    ("store.index.short", "Keys of a record that is cut by the end of what was read: IDX-1."),
    ("store.index.writes_early", "Entries on the disk that no mark speaks of yet: IDX-1, LOG-6."),
    ("store.query.one_entry", "A chain that leaves what was read of its file: IDX-1."),
    ("store.read.cold", "What comes from the disk while it is in memory as well: ACK-3, CON-3."),
    ("store.read.one_unit", "Units that come one by one from their files: CON-3, LOG-2."),
    (
        "store.recover.short",
        "A record at the edge of what a start has read, taken for the end of the log: LOG-6, ACK-1.",
    ),
    ("store.recover.spill", "Queue files that are ahead of the table when a start is cut off: LOG-2, LOG-6."),
    ("store.segment.late", "A file that is on the disk and not yet in use when the power goes: LOG-6."),
    ("store.segment.slow", "Appends that wait for a file: LOG-3, ACK-6."),
    ("store.settle.early", "A table that counts units which are being written: LOG-2, LOG-6."),
    ("store.settle.late", "A table that is far behind the log: LOG-2, CON-1."),
    ("store.settle.one_by_one", "A crash between the files of two queues: LOG-2, LOG-6."),
    ("store.tail.short", "Who is a little behind reads from files while the memory moves on: CON-3, CON-1."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cover::{SYSTEM_CRATES, hooks_in};
    use crate::plan::Rare;

    #[test]
    fn every_site_has_a_line_here_and_a_place_there() {
        let named: Vec<_> = SITES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(hooks_in(SYSTEM_CRATES, "buggify!("), named);
    }

    #[test]
    fn what_is_nearly_always_taken_is_a_site() {
        for site in Rare::ALL.iter().flat_map(|rare| rare.sites()) {
            assert!(SITES.iter().any(|(name, _)| name == site), "{site}");
        }
    }
}
