//! From a plan that fails to the smallest one that fails the same way: first its faults, then all the rest.
//!
//! What stays is 1-minimal: without any one of the faults that are left the plan does not fail any more. Nodes are named
//! by their place, so only the last of a kind is taken away, and only when no step names it.

use crate::plan::{Mode, Plan};

/// What became of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Shrunk {
    /// It fails, and is smaller.
    pub plan: Plan,
    /// Plans that were tried.
    pub tried: usize,
    /// False: the tries were used up before all was tried.
    pub minimal: bool,
}

/// Makes `plan` smaller as long as `fails` says that what is left still fails the same way, in at most `most` tries.
pub fn shrink(plan: &Plan, most: usize, fails: impl FnMut(&Plan) -> bool) -> Shrunk {
    let mut search = Search { plan: plan.clone(), tried: 0, most, fails };
    while search.fewer_steps() | search.simpler() && !search.is_spent() {}
    Shrunk { minimal: !search.is_spent(), tried: search.tried, plan: search.plan }
}

struct Search<F> {
    plan: Plan,
    tried: usize,
    most: usize,
    fails: F,
}

impl<F: FnMut(&Plan) -> bool> Search<F> {
    fn is_spent(&self) -> bool {
        self.tried >= self.most
    }

    /// Takes the candidate when it fails too.
    fn take(&mut self, candidate: Plan) -> bool {
        if candidate == self.plan || self.is_spent() {
            return false;
        }
        self.tried += 1;
        let taken = (self.fails)(&candidate);
        if taken {
            self.plan = candidate;
        }
        taken
    }

    /// Takes steps away: halves first, then ever smaller pieces, in the end each alone. True: there are fewer.
    fn fewer_steps(&mut self) -> bool {
        let before = self.plan.steps.len();
        let mut size = before;
        while size > 0 && !self.is_spent() {
            let mut at = 0;
            let mut fewer = false;
            while at < self.plan.steps.len() {
                let mut candidate = self.plan.clone();
                let end = (at + size).min(candidate.steps.len());
                candidate.steps.drain(at..end);
                if self.take(candidate) {
                    fewer = true;
                } else {
                    at += size;
                }
            }
            // One step may be needed only by one that went after it.
            size = if fewer && size == 1 { 1 } else { size / 2 };
        }
        self.plan.steps.len() < before
    }

    /// Makes everything but the steps simpler. True: something became so.
    fn simpler(&mut self) -> bool {
        let mut any = false;
        for simplify in SIMPLER {
            loop {
                let mut candidate = self.plan.clone();
                simplify(&mut candidate);
                if !self.take(candidate) {
                    break;
                }
                any = true;
            }
        }
        any
    }
}

/// Each makes a plan a little simpler, or leaves it as it is.
const SIMPLER: &[fn(&mut Plan)] = &[
    |plan| {
        let members: usize = plan.groups.iter().map(|group| group.members.len()).sum();
        let last = plan.groups.last().map_or(0, |group| group.members.len());
        if plan.groups.len() > 1 && (members - last..members).all(|node| is_free(plan, "c", node)) {
            plan.groups.pop();
        }
    },
    |plan| {
        let members: usize = plan.groups.iter().map(|group| group.members.len()).sum();
        if members > 0
            && is_free(plan, "c", members - 1)
            && let Some(group) = plan.groups.last_mut().filter(|group| group.members.len() > 1)
        {
            group.members.pop();
        }
    },
    |plan| {
        if plan.producers.len() > 1 && is_free(plan, "p", plan.producers.len() - 1) {
            plan.producers.pop();
        }
    },
    |plan| {
        if plan.brokers.len() > 1 && is_free(plan, "b", plan.brokers.len() - 1) {
            plan.brokers.pop();
        }
    },
    |plan| {
        if plan.name_servers > 1 && is_free(plan, "ns", plan.name_servers as usize - 1) {
            plan.name_servers -= 1;
        }
    },
    |plan| {
        let last = plan.steps.iter().map(|step| step.at_ms + 1).max().unwrap_or(0);
        plan.load_ms = (plan.load_ms / 2).max(last).max(1000).min(plan.load_ms);
    },
    |plan| plan.buggify = 0,
    |plan| plan.recover_twice = false,
    |plan| plan.queries = 0,
    |plan| plan.network.short_reads = false,
    |plan| plan.brokers.iter_mut().for_each(|broker| broker.clock_offset_ms = 0),
    |plan| plan.groups.iter_mut().for_each(|group| group.slow_one_in = 0),
    |plan| plan.groups.iter_mut().for_each(|group| group.tag = None),
    |plan| plan.groups.iter_mut().for_each(|group| group.batch = 1),
    |plan| plan.producers.iter_mut().for_each(|producer| producer.burst = (producer.burst / 2).max(1)),
    |plan| plan.producers.iter_mut().for_each(|producer| producer.in_flight = 1),
    |plan| plan.producers.iter_mut().for_each(|producer| producer.body.1 = producer.body.0),
    |plan| {
        for producer in &mut plan.producers {
            if matches!(producer.mode, Mode::Batch(_)) {
                producer.mode = Mode::Auto;
            }
        }
    },
];

/// Whether no step names the node.
fn is_free(plan: &Plan, kind: &str, number: usize) -> bool {
    let name = format!("{kind}{number}");
    plan.steps.iter().all(|step| !step.what.nodes().contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::{Step, What};
    use crate::swarm;

    /// A plan with so many steps, each at a time of its own.
    fn plan(steps: u64) -> Plan {
        let mut plan = swarm::base("any", 1, swarm::Size::QUICK);
        plan.steps = (0..steps)
            .map(|at_ms| Step { at_ms, for_ms: 1, what: What::Pause { node: "b0".into() } })
            .collect();
        plan
    }

    fn times(plan: &Plan) -> Vec<u64> {
        plan.steps.iter().map(|step| step.at_ms).collect()
    }

    proptest! {
        #[test]
        fn the_steps_that_are_needed_stay_and_no_others(needed in proptest::collection::btree_set(0..40u64, 0..5)) {
            let needed: Vec<u64> = needed.into_iter().collect();
            let shrunk = shrink(&plan(40), 10_000, |plan| needed.iter().all(|at| times(plan).contains(at)));
            prop_assert!(shrunk.minimal);
            prop_assert_eq!(times(&shrunk.plan), needed);
        }

        #[test]
        fn no_step_that_is_left_can_go(salt: u64) {
            // Failing follows no order: two steps that disturb each other, and the like.
            let fails = |plan: &Plan| {
                let mix = times(plan).iter().fold(salt, |mix, at| mix.rotate_left(7) ^ at.wrapping_mul(salt | 1));
                plan.steps.len() == 20 || mix % 3 == 0
            };
            let shrunk = shrink(&plan(20), 10_000, fails);
            prop_assert!(shrunk.minimal);
            for at in 0..shrunk.plan.steps.len() {
                let mut without = shrunk.plan.clone();
                without.steps.remove(at);
                prop_assert!(!fails(&without), "{:?} without {}", times(&shrunk.plan), at);
            }
        }
    }

    #[test]
    fn what_is_named_by_a_step_stays() {
        let mut plan = plan(0);
        plan.name_servers = 3;
        plan.steps = vec![Step { at_ms: 5, for_ms: 1, what: What::Pause { node: "ns1".into() } }];
        let shrunk = shrink(&plan, 10_000, |plan| !plan.steps.is_empty());
        assert_eq!((shrunk.plan.name_servers, shrunk.plan.brokers.len(), shrunk.plan.buggify), (2, 1, 0));
        assert_eq!(shrunk.plan.load_ms, 1000);
    }

    #[test]
    fn it_ends_when_the_tries_are_used_up() {
        let shrunk = shrink(&plan(40), 3, |_| true);
        assert_eq!((shrunk.tried, shrunk.minimal), (3, false));
    }
}
