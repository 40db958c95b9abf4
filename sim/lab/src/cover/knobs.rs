//! The settings of a plan, for a histogram: what is never drawn is never tested.

use std::collections::BTreeMap;

use super::properties::Property;
use crate::explain::options;
use crate::plan::Plan;

/// Every setting that plans draw, in order, and what it could bring to light.
pub const KNOBS: &[Property] = &[
    (
        "brokers.clock_offset_ms",
        "Clocks of two nodes that are taken for one: a message before its time, a search by time that misses: DLY-1, LOG-7.",
    ),
    (
        "brokers.config accessMessageInMemoryMaxRatio",
        "A pull that changes between memory and disk in the midst of an answer: CON-3, ACK-7.",
    ),
    (
        "brokers.config channelExpiredTimeout",
        "Members and producers that are taken for gone, or kept, at the limit of their silence: CON-5, L-3.",
    ),
    (
        "brokers.config cleanResourceInterval",
        "Retention that meets reads and recovery more or less often: LOG-6, LOG-2.",
    ),
    (
        "brokers.config deleteFileBatchMax",
        "A disk that stays full, as too few files go at a time: L-2, LOG-6.",
    ),
    (
        "brokers.config deleteWhen",
        "Old files that are due at any hour when the clock jumps by days: ACK-1, LOG-6.",
    ),
    (
        "brokers.config flushConsumeQueueThoroughInterval",
        "A table of queues that is ahead of the log, or far behind: LOG-2, LOG-5.",
    ),
    (
        "brokers.config flushConsumerOffsetInterval",
        "Committed offsets that a crash takes further back than said: CON-6, CON-4.",
    ),
    ("brokers.config flushDelayOffsetInterval", "Progress of delays that a crash takes back: DLY-2."),
    (
        "brokers.config flushIntervalCommitLog",
        "An answer that waits for no sync, or for one too many: ACK-1, LOG-3.",
    ),
    (
        "brokers.config maxFilterMessageSize",
        "A filter that ends an answer in the midst and skips the rest: CON-3, CON-7.",
    ),
    ("brokers.config maxHashSlotNum", "Keys that share a slot and hide each other: IDX-1."),
    ("brokers.config maxIndexNum", "An index file that ends while a message has keys left: IDX-1."),
    (
        "brokers.config maxTransferBytesOnMessageInDisk",
        "Answers from the disk that end in the midst of what lies together: CON-3, ACK-7.",
    ),
    (
        "brokers.config maxTransferBytesOnMessageInMemory",
        "Answers from memory that end in the midst of what lies together: CON-3, ACK-7.",
    ),
    (
        "brokers.config maxTransferCountOnMessageInDisk",
        "A member that skips when the disk gives less than it asked for: CON-3.",
    ),
    (
        "brokers.config maxTransferCountOnMessageInMemory",
        "A member that skips when it gets less than it asked for: CON-3, L-11.",
    ),
    (
        "brokers.config messageIndexSafe",
        "An index that is trusted after a crash, or made anew for nothing: IDX-1.",
    ),
    (
        "brokers.config notifyConsumerIdsChangedEnable",
        "Members that hear of each other by the clock alone: CON-5, L-3.",
    ),
    (
        "brokers.config registerNameServerPeriod",
        "A broker that is taken for gone between two registrations, or listed too long: NS-2, NS-1.",
    ),
    (
        "brokers.config syncFlushTimeout",
        "An answer of doubt whose message is lost or sent twice: ACK-1, ACK-6.",
    ),
    (
        "brokers.config transactionCheckInterval",
        "Producers that are asked too often, or at the wrong time: TXN-5, TXN-4.",
    ),
    (
        "brokers.config transactionCheckMax",
        "A half message that is given up too soon, or never: TXN-4, TXN-5.",
    ),
    ("brokers.config transactionTimeOut", "A producer that is asked before it could know: TXN-5."),
    (
        "brokers.log_file_bytes",
        "The end of a log file in a batch, a pair or a recovery: LOG-2, LOG-5, LOG-6.",
    ),
    ("brokers.queue_file_units", "The end of a queue file in a read, a search or a recovery: LOG-2, LOG-5."),
    ("brokers.sync_flush", "An answer that promises more than the disk has: ACK-1, ACK-3."),
    ("brokers.sync_us", "Whatever happens while a sync is under way: ACK-1, TXN-5, L-2."),
    ("buggify", "The rare ways in the code, all at once or none: ACK-1, CON-3, LOG-2."),
    (
        "by_client",
        "A client that finds other messages than the one that was asked for, or too few: IDX-1, ACK-2, LOG-4.",
    ),
    ("delay_levels_s", "Levels that wake in one moment, or never: DLY-1, DLY-3."),
    ("groups.batch", "A listener that fails, or dies, in the midst of a batch: CON-2, RTY-2."),
    ("groups.fails", "A listener that never fails: every repeat needs another cause: CON-4."),
    ("groups.fails.limit", "Retries that end one too early or too late: RTY-1, RTY-3."),
    ("groups.fails.most", "A message that fails to the end of its tries, or almost: RTY-3, RTY-4."),
    ("groups.fails.one_in", "Many or few messages that come back at a time: RTY-1, RTY-2."),
    (
        "groups.from_end",
        "A member that dies before its group has committed, and leaves to the next what nobody has read: CON-1, CON-3.",
    ),
    ("groups.members.dies", "A member that does not say good-bye: CON-4, L-3."),
    ("groups.members.joins_ms", "A queue that changes hands while it is read: CON-4, CON-5, CON-6."),
    ("groups.members.leaves_ms", "A member that leaves with messages in work: CON-1, CON-4, CON-5."),
    ("groups.slow_one_in", "One slow message below many that are done: CON-2, CON-4."),
    ("groups.stuck", "A listener that is never too slow: nobody gives a message back for it: RTY-1, CON-2."),
    ("groups.stuck.one_in", "Many or few listeners that are stuck at a time: CON-8, RTY-1."),
    (
        "groups.stuck.timeout_ms",
        "A message that is given back too soon, or comes while its listener works: RTY-1, RTY-4.",
    ),
    ("groups.tag", "A filter that lets through too much, or passes over too much: CON-7, CON-1."),
    ("groups.threads", "Messages of a queue that are finished in another order than they came: CON-2."),
    ("groups.topic", "Two groups that read one topic, or one each: CON-1, CON-4."),
    ("groups.work_ms", "Work that outlasts a change of owners, or a broker: CON-4, CON-6."),
    ("load_ms", "What comes only after many rounds of every timer: L-4, TXN-4, LOG-6."),
    ("lock_ms", "Locks of queues that end, are renewed, or are lost with their broker: ORD-1."),
    ("name_servers", "Name servers that know different things: NS-1, NS-2, NS-3."),
    ("network.latency_us", "Answers that come when their caller has gone on: ACK-6, CON-3, TXN-2."),
    ("network.short_reads", "A frame that comes in pieces: ACK-1, ACK-7."),
    ("operator_ms", "Groups and texts that change between crashes: NS-4, CON-9, CON-5."),
    ("probe_ms", "How soon what is right again must serve: L-1, L-2."),
    ("producers.body", "Bodies at the limits of sectors, answers and compression: ACK-7, LOG-5."),
    ("producers.burst", "Appends that share a sync, an answer or a wake-up: LOG-3, L-11."),
    (
        "producers.checks",
        "A producer of the client's own, or one that says things twice and late: TXN-2, TXN-4.",
    ),
    (
        "producers.checks.concurrency",
        "A check that waits for others, or for a listener that nobody gave back: TXN-4.",
    ),
    ("producers.checks.most_ms", "A connection that ends while a listener looks: TXN-4."),
    ("producers.delayed", "A producer without delays: whatever waits is a retry: DLY-4."),
    ("producers.delayed.most_level", "Few or many levels that wait at a time: DLY-1, DLY-3."),
    ("producers.delayed.one_in", "Delayed messages among others of their queue: DLY-4, LOG-3."),
    ("producers.gap_ms", "A queue that fills faster than it is read, or stays empty for long: L-11, L-4."),
    ("producers.gone_ms", "Half messages that nobody can be asked about: TXN-4, TXN-5."),
    ("producers.group", "Producers that are asked for what others of their group have sent: TXN-2, TXN-4."),
    (
        "producers.immunity_s",
        "Half messages that ask for more time than their broker grants, or less: TXN-5, TXN-4.",
    ),
    ("producers.in_flight", "Sends that overtake each other: LOG-3, ACK-2."),
    ("producers.mode", "Who chooses the queue, and so what a retry may go to: ACK-2, ACK-6."),
    ("producers.mode.Batch", "A batch of which a part is stored: ACK-8, ACK-2."),
    ("producers.mode.Transaction.rollback", "A message that is seen though it was taken back: TXN-1."),
    (
        "producers.mode.Transaction.unknown",
        "A producer that does not know yet when it is asked: TXN-4, TXN-5.",
    ),
    ("producers.retries", "A call that is sent again and stored twice: ACK-6, ACK-2."),
    ("producers.timeout_ms", "A call that is given up while its answer is on the way: ACK-6, L-2."),
    ("producers.topic", "Topics that share brokers and log but no queue: LOG-2, ACK-2."),
    ("producers.twin", "Two clients of one process that take each other's names or ids: ACK-2, IDX-1."),
    ("queries", "Questions for keys while messages come, go and are lost: IDX-1."),
    ("rare", "A rare way that is taken again and again: CON-6, CON-1, ADM-1."),
    ("recover_twice", "A second recovery that finds something else than the first: LOG-5."),
    ("settle_ms", "A broken outside that lasts: who is well must serve without it: L-1, L-4."),
    ("shared_keys", "Keys of many messages, of which the newest are asked for: IDX-1."),
    ("topics.queues", "Queues that are shared unevenly among members and brokers: CON-5, L-3."),
    ("topics.tags", "Tags whose hashes meet, or a filter that takes everything: CON-7."),
];

/// Each setting of a plan but its faults, with the value of the last place that has it; large numbers by their magnitude.
#[must_use]
pub fn knobs(plan: &Plan) -> BTreeMap<String, String> {
    let settings = options::flat(plan).into_iter().filter(|(name, _)| is_knob(name));
    settings.map(|(name, value)| (without_places(&name), magnitude(&value))).collect()
}

fn is_knob(name: &str) -> bool {
    !(name.starts_with("steps")
        || name.ends_with(".name")
        || matches!(name, "scenario" | "seed" | "safety_only"))
}

/// `brokers.log_file_bytes` of `brokers.1.log_file_bytes`.
fn without_places(name: &str) -> String {
    let parts: Vec<_> = name.split('.').filter(|part| part.parse::<u32>().is_err()).collect();
    parts.join(".")
}

/// Numbers from 16 on as a range between powers of two; of two numbers the second.
fn magnitude(value: &str) -> String {
    let last = value.rsplit(" to ").next().unwrap_or(value);
    let Ok(number) = last.parse::<i64>() else { return value.to_owned() };
    match number.unsigned_abs() {
        ..16 => number.to_string(),
        size => {
            let (low, sign) = (1_u64 << size.ilog2(), if number < 0 { "-" } else { "" });
            format!("{sign}{low} to {sign}{}", low.saturating_mul(2) - 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_told_by_their_magnitude() {
        let told = ["3", "16", "1000", "5 to 40", "-20", "true"].map(magnitude);
        assert_eq!(told, ["3", "16 to 31", "512 to 1023", "32 to 63", "-16 to -31", "true"]);
    }
}
