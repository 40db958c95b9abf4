//! How the members of a group share the queues: every member computes the same answer from the same lists.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::md5;
use crate::{MessageQueue, Text};

/// How the members of a group share the queues of a topic. All members must use the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Allocation {
    /// Runs of neighbouring queues, as equal as can be.
    #[default]
    Average,
    /// One queue after the other in a circle.
    Circle,
    /// By a hash ring of ten points per member: few queues move when a member comes or goes.
    ConsistentHash,
    /// Always exactly these queues.
    Fixed(Vec<MessageQueue>),
}

impl Allocation {
    /// The queues of the member `me`. Both lists must be in Java's order ([`sort_members`], [`sort_queues`]):
    /// members that sort differently would own queues twice or not at all.
    pub(crate) fn share(&self, me: &str, members: &[Text], queues: &[MessageQueue]) -> Vec<MessageQueue> {
        if let Self::Fixed(own) = self {
            return own.clone();
        }
        let Some(index) = members.iter().position(|m| &**m == me) else { return Vec::new() };
        match self {
            Self::Average => average(index, members.len(), queues).to_vec(),
            Self::Circle => queues.iter().skip(index).step_by(members.len()).cloned().collect(),
            Self::ConsistentHash => {
                let ring = ring(members);
                queues.iter().filter(|q| owner(&ring, q) == Some(index)).cloned().collect()
            }
            Self::Fixed(_) => unreachable!("answered above"),
        }
    }
}

fn average(index: usize, members: usize, queues: &[MessageQueue]) -> &[MessageQueue] {
    let (each, rest) = (queues.len() / members, queues.len() % members);
    let from = index * each + index.min(rest);
    let size = each + usize::from(index < rest);
    &queues[from..from + size]
}

fn ring(members: &[Text]) -> BTreeMap<u32, usize> {
    let points = members.iter().enumerate().flat_map(|(i, m)| (0..POINTS).map(move |k| (i, m, k)));
    points.map(|(i, m, k)| (md5::first_word(format!("{m}-{k}").as_bytes()), i)).collect()
}

fn owner(ring: &BTreeMap<u32, usize>, queue: &MessageQueue) -> Option<usize> {
    // The text is what Java prints for a queue: other clients hash exactly it.
    let MessageQueue { topic, broker, id } = queue;
    let text = format!("MessageQueue [topic={topic}, brokerName={broker}, queueId={id}]");
    let hash = md5::first_word(text.as_bytes());
    ring.range(hash..).chain(ring.iter()).next().map(|(_, member)| *member)
}

/// Sorts client ids as Java sorts strings, and takes repeats out.
pub(crate) fn sort_members(members: &mut Vec<Text>) {
    members.sort_by(|a, b| java_order(a, b));
    members.dedup();
}

/// Sorts queues by topic, broker and number as Java does.
pub(crate) fn sort_queues(queues: &mut [MessageQueue]) {
    queues.sort_by(|a, b| {
        java_order(&a.topic, &b.topic).then(java_order(&a.broker, &b.broker)).then(a.id.cmp(&b.id))
    });
}

/// Java compares strings by UTF-16 units: characters beyond U+FFFF sort before U+E000.
pub(crate) fn java_order(a: &str, b: &str) -> Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

const POINTS: usize = 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn queues(broker: &str, n: i32) -> Vec<MessageQueue> {
        (0..n).map(|id| MessageQueue::new("TopicTest", broker, id)).collect()
    }

    fn members(n: usize) -> Vec<Text> {
        let mut ids = (0..n).map(|i| Text::from(format!("10.0.0.{i}@{i}"))).collect();
        sort_members(&mut ids);
        ids
    }

    fn shares(how: &Allocation, members: &[Text], queues: &[MessageQueue]) -> Vec<Vec<i32>> {
        members.iter().map(|m| how.share(m, members, queues).iter().map(|q| q.id).collect()).collect()
    }

    #[test]
    fn the_shares_are_those_of_java() {
        // client.md 22
        let sizes = |q, m| -> Vec<usize> {
            shares(&Allocation::Average, &members(m), &queues("a", q)).iter().map(Vec::len).collect()
        };
        assert_eq!(sizes(10, 4), [3, 3, 2, 2]);
        assert_eq!(sizes(8, 3), [3, 3, 2]);
        assert_eq!(sizes(3, 5), [1, 1, 1, 0, 0]);
        assert_eq!(shares(&Allocation::Average, &members(4), &queues("a", 10))[2], [6, 7]);
        assert_eq!(
            shares(&Allocation::Circle, &members(4), &queues("a", 10)),
            [vec![0, 4, 8], vec![1, 5, 9], vec![2, 6], vec![3, 7]]
        );
    }

    #[test]
    fn the_ring_is_that_of_java() {
        // client.md 22
        let ids: Vec<Text> = ["10.0.0.1@1", "10.0.0.2@2", "10.0.0.3@3"].map(Text::from).into();
        let all = [queues("broker-a", 4), queues("broker-b", 4)].concat();
        let own = |me: &str| -> Vec<String> {
            let share = Allocation::ConsistentHash.share(me, &ids, &all);
            share.iter().map(|q| format!("{}{}", &q.broker[7..], q.id)).collect()
        };
        assert_eq!(own("10.0.0.1@1"), ["a1", "a2", "b1", "b3"]);
        assert_eq!(own("10.0.0.2@2"), ["b2"]);
        assert_eq!(own("10.0.0.3@3"), ["a0", "a3", "b0"]);
    }

    #[test]
    fn a_stranger_gets_nothing_and_fixed_is_fixed() {
        let all = queues("a", 4);
        assert_eq!(Allocation::Average.share("other", &members(2), &all), []);
        assert_eq!(Allocation::Fixed(all.clone()).share("other", &[], &[]), all);
    }

    #[test]
    fn ids_are_sorted_as_java_strings() {
        let mut ids: Vec<Text> =
            ["10.0.0.9@1", "\u{FF5E}", "\u{1F600}", "10.0.0.10@1", "10.0.0.9@1"].map(Text::from).into();
        sort_members(&mut ids);
        assert_eq!(ids, ["10.0.0.10@1", "10.0.0.9@1", "\u{1F600}", "\u{FF5E}"].map(Text::from));
    }

    proptest! {
        #[test]
        fn every_queue_has_exactly_one_owner(a in 0i32..20, b in 0i32..20, n in 1usize..12, order in any::<u64>()) {
            let ids = members(n);
            let mut all = [queues("b", b), queues("a", a)].concat();
            let turn = order as usize % all.len().max(1);
            all.rotate_left(turn);
            sort_queues(&mut all);
            for how in [Allocation::Average, Allocation::Circle, Allocation::ConsistentHash] {
                let mut owned: Vec<_> = ids.iter().flat_map(|m| how.share(m, &ids, &all)).collect();
                sort_queues(&mut owned);
                prop_assert_eq!(&owned, &all);
            }
        }
    }
}
