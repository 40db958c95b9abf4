//! The planted bugs: what each does wrong, by which rule it must be found, and how soon.
//!
//! M are those of the harness' table, B are further ones that were planted to see whether the rules know more than
//! that table. Each is an `if planted!("M01")` at its place in `system/`, counted when it is passed.

use crate::check::Rule;

/// One planted bug.
#[derive(Clone, Copy, Debug)]
pub struct Bug {
    /// Its name in `planted!`.
    pub id: &'static str,
    /// What goes wrong, in a sentence.
    pub what: &'static str,
    /// How soon it must be found.
    pub class: Class,
    /// Rules of which one must find it.
    pub rules: &'static [Rule],
    /// The feature it is a bug of, when that is not there yet.
    pub missing: Option<&'static str>,
}

/// How hard a bug may be to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// In 3 seeds.
    Easy,
    /// In 20 seeds.
    Medium,
    /// In 200 seeds.
    Hard,
}

impl Class {
    /// Within so many seeds of a scenario that is about it.
    #[must_use]
    pub fn seeds(self) -> u64 {
        match self {
            Self::Easy => 3,
            Self::Medium => 20,
            Self::Hard => 200,
        }
    }
}

/// The bug of this name.
#[must_use]
pub fn find(id: &str) -> Option<&'static Bug> {
    ALL.iter().find(|bug| bug.id.eq_ignore_ascii_case(id))
}

macro_rules! bugs {
    ($($id:ident $class:ident [$($rule:ident)*] $what:literal $(- $feature:literal)?)+) => {
        /// All of them, in order.
        pub const ALL: &[Bug] = &[$(Bug {
            id: stringify!($id),
            what: $what,
            class: Class::$class,
            rules: &[$(Rule::$rule),*],
            missing: bugs!(@missing $($feature)?),
        }),+];
    };
    (@missing) => { None };
    (@missing $feature:literal) => { Some($feature) };
}

#[rustfmt::skip]
bugs! {
    M01 Easy   [Ack5 Ack1]      "Sync flush answers before the sync."
    M02 Medium [Ack5]           "A group commit wakes those who wait above what was synced."
    M03 Medium [Ack1 Ack5]      "The flushed position moves before the sync returns."
    M04 Hard   [Ack1 Log5]      "A failed sync is ignored, and a later success covers it."
    M05 Medium [Log2 Ack1]      "Recovery after a crash scans the last log file only."
    M06 Hard   [Log2]           "The table says that queues are on the disk before they are."
    M07 Medium [Log2 Con3 Ack1] "Replay leaves a hole in a queue where a log file begins."
    M08 Medium [Log2 Ack6]      "Replay gives a record to its queue twice."
    M09 Easy   [Log6 Log5]      "A crash is taken for a clean stop."
    M10 Medium [Log5 Ack3]      "Recovery does not look at checksums."
    M11 Medium [Log6 Log5]      "The log is not cut at a torn record, and appends go on behind it."
    M12 Easy   [Log5]           "The blank at the end of a log file has a wrong size."
    M13 Medium [Idx1]           "A look into the index takes another key of the same slot."
    M14 Medium [Log4 L4 Log2]   "The smallest offset stays when files are deleted."
    M15 Medium [Ack1 Log5]      "A message that found no room on a full disk is acknowledged."
    M16 Medium [Con6 Con1]      "The table of offsets is overwritten in place."
    M17 Medium [Con6 Dly2]      "An empty table of offsets is written before the old one is read."
    M18 Easy   [Con2]           "A member commits what it has not processed yet."
    M19 Easy   [Con2]           "A member commits the highest finished offset, not the lowest unfinished."
    M20 Easy   [Con4]           "A member lets go of a queue without committing."
    M21 Medium [Con6 Con5]      "A member that lost a queue commits over the new owner."
    M22 Easy   [Con1]           "A queue that was added later is read from its end."
    M23 Easy   [Con5]           "Members sort their ids differently."
    M24 Hard   [Con3 Con5]      "What was pulled for a dropped session goes to the next one."
    M25 Medium [Rty2 Con2]      "A message that could not be given back lets the offset pass."
    M26 Medium [Con7]           "A tag with the same hash passes the filter."
    M27 Medium [L11]            "A pull that is about to wait misses what arrives just then."
    M28 Easy   [Ns1]            "A broker that fell silent is never removed."
    M29 Hard   [Ns2]            "A late removal takes away a newer registration."
    M30 Easy   []               "The registration of a slave replaces the master's address." - "slaves"
    M31 Easy   [Txn1 Txn3]      "A half message stands in its real topic."
    M32 Medium [Txn3]           "A crash loses the end of a transaction, and it is committed again."
    M33 Easy   [Txn3 Txn2]      "The end of a transaction is taken twice, and a second decision overrules the first."
    M34 Hard   [Txn6 Txn4]      "The half offset passes before the copy is stored."
    M35 Easy   [Txn5]           "A producer is asked within the immunity time."
    M36 Medium [Txn4]           "One half message that cannot be checked holds up all others."
    M37 Easy   [Dly2]           "How far a level is delivered is not stored at the stop."
    M38 Medium [Dly2 Dly3 L4]   "A delay offset ahead of its queue stops the level."
    M39 Medium []               "A new master goes on with old delay offsets." - "change of roles"
    M40 Easy   [Dly1]           "What is due is rounded to seconds."
    M41 Medium [Dly3 Dly2]      "A wall clock that is set back delays again, one that is set forward skips."
    M42 Easy   [Dly4 Rty3]      "A dead letter keeps its delay."
    M43 Easy   [Rty4]           "The count of tries does not rise."
    M44 Easy   [Rty3 Rty5]      "After the last try a message is dropped."
    M45 Easy   [Ord1]           "A second client gets the lock of a queue before it expires."
    M46 Medium []               "A client goes on after its lock grew old in a pause." - "orderly consumption"
    M47 Easy   []               "Suspending advances the offset." - "orderly consumption"
    M48 Easy   []               "Offsets of broadcast are deleted when a broker is away." - "broadcast"
    M49 Medium []               "The master counts bytes sent, not acknowledged." - "replication"
    M50 Hard   []               "A slave's offset is not compared with its own log." - "replication"
    M51 Medium []               "A promoted slave keeps a tail of its own." - "replication"
    M52 Hard   []               "A master that is cut off raises the confirm offset." - "controller"
    M53 Medium []               "A start dispatches beyond the confirm offset." - "controller"
    M54 Medium []               "A master that returns overwrites newer consumer offsets." - "replication"
    M55 Hard   []               "A checkpoint and an ack with one key delete the checkpoint." - "pop"
    M56 Medium []               "A revive returns the next readable message." - "pop"
    M57 Medium []               "A revive skips by the original store time." - "pop"
    M58 Easy   []               "An ack with an old handle counts." - "pop"
    M59 Easy   []               "A checkpoint in memory only is lost in a crash." - "pop"
    M60 Medium [Ack7]           "Of a batch that does not fit into a log file the first part is stored."
    M61 Easy   [Ack8]           "A client's retry makes a new unique key."
    M62 Medium [L10]            "The table of calls keeps what timed out."
    B01 Hard   [Log7]           "A search by time passes over the messages of exactly that time."
    B02 Hard   [Idx1 Ack2]      "Of the keys of a message only the first comes into the index."
    B03 Hard   [Log4]           "When files are deleted the smallest offset is one too high."
    B04 Hard   [Log2 Con1]      "The entries of a queue carry no hash of the tag."
    B05 Hard   [Con1 Con3]      "A pull that finds nothing for its tag goes on one message too far."
    B06 Hard   [Con2 Con1 Con6] "A commit goes to another group of the topic."
    B07 Hard   [L11]            "A parked pull waits for one message more than it should."
    B08 Hard   [Dly4]           "A delayed message comes to the first queue of its topic."
    B09 Hard   [Rty1 Ack3]      "A message that was given back loses its keys."
    B10 Hard   [Txn5 Txn4]      "Anybody who is connected is asked for the outcome of a transaction."
    B11 Hard   [Rty1]           "The delays of retries end one level too early."
    B12 Hard   [L4 Con1]        "A client asks for the route of a topic once only."
    B13 Hard   [L4 Con5 Con1]   "Members share the queues of the first broker only."
    B14 Hard   [Rty1 Ack3]      "The second return of a message overwrites the name of its first topic."
    B15 Hard   [Rty3]           "A message has one try more than the limit."
    B16 Hard   [Con2 L4 Con1]   "Committed offsets stay above the end of a queue that lost its tail."
    B17 Hard   [Ack5]           "A flush that takes too long is answered as if it were done."
    B18 Hard   [Txn5 Txn2]      "A producer is asked about what it rolled back."
    B19 Hard   [Ns2 L1]         "A broker is removed when it misses one registration."
    B20 Hard   [Con6 Con4]      "Offsets of retry topics are not read at the start."
    B21 Hard   [Con5 L3 L4]     "A member whose connection closed stays until its heartbeat is old."
    B22 Hard   [Con3 Con2 Con1] "A member goes on where it was when the topic was deleted and made again."
    B23 Hard   [Con3 Con2 Con1] "Committed offsets outlive their topic."
    B24 Hard   [Log2 Ack3]      "The deletion of a topic is not on the disk when it is answered."
    B25 Hard   [L9]             "A pull that failed runs in circles before it is tried again."
    B26 Hard   [Ns3 Con5 L4]    "A route names queues of a broker, and no address of it."
    B27 Hard   [Con8 L4]        "A message that a listener cannot handle lets all others wait."
    B28 Hard   [Ack1 Log4]      "A wall clock that jumps by days makes messages old that were stored a minute ago."
    B29 Hard   [Idx1]           "A question for a key and a time misses what was stored in the second it begins in."
    B30 Hard   [Con6]           "A broker that has stopped has not written what its last clients committed."
    B31 Hard   [L2]             "A send that failed is tried again on any broker, also on the same."
    B32 Hard   [Ns2]            "A late registration on an older connection counts, and ends with that connection."
    B33 Hard   [Txn3 Txn4]      "The end of a transaction names the last copy only, and a start finds the first one open."
    B34 Hard   [L11 Con5 L3]    "Whether a client is silent is told by the wall clock."
    B35 Medium [Adm1]           "A change of the topics that comes while they are written counts as written."
    B36 Medium [Con9]           "A group is answered for when the change before it is on the disk."
    B37 Medium [Adm1]           "The first message of a topic does not wait for the topic to be on the disk."
    B38 Medium [Log2 Ack1 Ack2] "The mark of a deleted topic moves on with each writing of the table."
    B39 Medium [Ack3 Idx1]      "Old files take the marks of all deleted topics with them."
    B40 Hard   [L2]             "A broker that found no space looks again after half a minute."
    B41 Hard   [Con5 L3 Con3]   "A pull at the end of a queue that retention has emptied goes back to the first offset."
    B42 Medium [Log4 Con3 Log2] "A queue that retention has emptied begins anew at a restart."
    B43 Medium [Ack3 Idx1]      "A record that was found at the start is taken by its head when it is read from memory."
    B45 Hard   [L13]            "A client that had to join a broker again sends it no more heartbeats."
    B46 Hard   [L13 L1]         "A broker that could not register for a while registers once more, and then no more."
    B47 Hard   [L13]            "A connection on which nothing moves stays open."
    B48 Hard   [L13]            "A call has no time-out."
    B49 Hard   [L13]            "A client stays with its name server, though that does not answer."
    B50 Hard   [Idx1]           "A client asks one broker only for a key."
    B51 Hard   [Ack2]           "A client asks any broker for the message at an offset id."
    B52 Hard   [Ns4]            "What is put into the table of a name server is not on the disk when it is answered."
    B53 Hard   [Ns4]            "What is deleted from the table of a name server is back after a restart."
    B54 Hard   [Rty5 Rty2 Con1] "A message that a listener has for too long is dropped."
    B55 Hard   [Rty1]           "A listener is taken for stuck too soon."
    B56 Hard   [Con9]           "The offsets of a deleted group stay."
    B57 Hard   [Con9]           "With a group go the offsets of all whose names begin with its name."
    B58 Hard   [Con9]           "The deletion of a group is not on the disk when it is answered."
    B59 Hard   [Ack3]           "A message that comes back has a new time of birth."
    B60 Hard   [Txn5]           "A start forgets how long a half message asked to be left alone."
    B61 Hard   [Txn4]           "A check whose answer could not be sent keeps its listener."
    B62 Hard   [Adm1]           "A delayed message for a queue that was taken away is put there all the same."
    B63 Hard   [Ack3 Log2]      "A start forgets which topics were deleted."
    B64 Hard   [Ack3]           "A committed message was born at its broker."
    B65 Hard   [Ack3]           "A delayed message loses its flag."
    B66 Hard   [Ack8]           "A message that comes back has lost its unique key."
    B67 Hard   [Con9]           "Who deletes a group once more is told that it is done, though the disk has refused."
    B68 Hard   [Adm1]           "The right to write to a broker that an operator took away comes back with its next registration."
    B69 Hard   [Adm1]           "A broker that is closed for writing goes on taking messages."
    B70 Hard   [L13]            "A topic without a route ends a client's look at the routes."
    B71 Hard   [Idx1]           "A client leaves out of its answer a broker that it could not ask."
    B72 Hard   [Ns3]            "Versions of a broker's topics are compared by their counters alone."
    B75 Hard   [Con6]           "Commits that come while the offsets are written count as written."
    B76 Hard   [Con9]           "A change of the groups that comes while they are written counts as written."
    B77 Hard   [Con3 Ack1 Log2] "A block of old entries reaches beyond those in the files, and nothing stands there."
    B78 Hard   [Ord1]           "Anybody may unlock a queue."
    B79 Hard   [Ord1]           "A lock ends a minute after it was given, renewed or not."
    B80 Hard   [Ord1]           "The time of a lock is told by the wall clock."
    B81 Hard   [Txn2 Txn3 Txn4] "A check does not wait for the end of the same half message, nor that for it."
    B82 Hard   [Ns3]            "One name server alone hears at once that topics have changed."
    B83 Hard   [Adm1]           "The first messages of a topic, when they are a batch, do not wait for the topic to be on the disk."
    B84 Hard   [Dly2 Dly4]      "Delayed messages that were delivered before one that failed are delivered again."
    B85 Hard   [Txn4 Txn6]      "A half message whose end could not be stored is taken for ended."
    B86 Hard   [Adm1 Con9]      "A write of the topics or groups that failed counts as done."
    B87 Hard   [Ack3]           "A message that comes back once more names its copy as the first."
    B88 Hard   [Ns4]            "Of two changes of a name server's table at once one is lost."
    B89 Hard   [Con3 Con1]      "Who is beyond the end of a queue whose offsets are given again goes to its end."
    B90 Hard   [L2]             "A shortage of space is noted for good: who must wait for the next log file is refused."
    B91 Hard   [Con2 Con1]      "A member that is sent back passes over what it has not finished."
    B92 Hard   [L13]            "The time that a call spends on dialling is not counted."
    B93 Hard   [Idx1]           "Of many messages with one key a broker answers with the oldest."
    B94 Hard   [Idx1]           "Of the answers of many brokers for one key a client keeps the first."
    B95 Hard   [Con1 Con3]      "A member that begins at the end of a queue reads before it has said so."
    B96 Hard   [Con6]           "Committed offsets that could not be written count as written."
    B97 Hard   [Ack3 Log2 Adm1] "Who waited to append while its topic was deleted comes to the next of that name."
    B98 Medium [Ns3]            "A route leaves out the queues that may be read only."
    B99 Hard   [Ns4]            "A change of a name server's table is seen before it is on the disk."
    B100 Hard  [Con9]           "A commit of a client that pulls by itself does not wait for the broker's word."
    B101 Hard  [Con5]           "The members of a group are not told that one has left."
    B102 Hard  [L11]            "A shorter wait lasts as long as one that began before it."
    B103 Hard  [Ack2 Idx1]      "Two producers of one process give messages the same unique ids."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_has_rules_or_no_feature_yet() {
        for bug in ALL {
            assert_eq!(bug.rules.is_empty(), bug.missing.is_some(), "{}", bug.id);
        }
        assert!(ALL.is_sorted_by_key(|bug| (bug.id.starts_with('B'), bug.id.len(), bug.id)));
    }

    /// What the table says and what the system does must not part.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "reads the project's own source")]
    fn every_bug_with_a_feature_is_planted_and_every_planted_one_is_listed() {
        fn planted(folder: &std::path::Path, found: &mut std::collections::BTreeSet<String>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    planted(&path, found);
                } else if let Ok(text) = std::fs::read_to_string(&path) {
                    let names = text.split("planted!(\"").skip(1);
                    found.extend(names.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
                }
            }
        }
        let mut found = std::collections::BTreeSet::new();
        for part in ["broker", "client", "namesrv", "net", "store"] {
            let folder = format!("{}/../../system/{part}/src", env!("CARGO_MANIFEST_DIR"));
            planted(std::path::Path::new(&folder), &mut found);
        }
        let listed = ALL.iter().filter(|bug| bug.missing.is_none()).map(|bug| bug.id.to_owned());
        assert_eq!(found, listed.collect());
    }
}
