//! From a plan that fails to the smallest one that fails the same way: first its faults, then all the rest, then what
//! producers do, call by call; and what is left is told by what happens, not by draws and times.
//!
//! What stays is 1-minimal: without any one of the faults that are left the plan does not fail any more. Nodes are named
//! by their place, so only the last of a kind is taken away, and only when no step names it.

use std::ops::Range;

use crate::moment::Moment;
use crate::op::Op;
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

/// What a run that fails tells of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// What producers did under load.
    pub ops: Vec<Op>,
    /// When each step of its plan took place.
    pub moments: Vec<Option<Moment>>,
}

/// Makes `plan` smaller as long as `fails` says that what is left still fails the same way, in at most `most` tries.
pub fn shrink(plan: &Plan, most: usize, fails: impl FnMut(&Plan) -> Option<Told>) -> Shrunk {
    let mut search = Search::new(plan, most, fails);
    search.smaller();
    if search.list_calls() {
        search.smaller();
    }
    search.tell_moments();
    search.end()
}

/// Tells `plan` by its calls and by what its steps come after, as far as it fails the same way then.
pub fn pin(plan: &Plan, most: usize, fails: impl FnMut(&Plan) -> Option<Told>) -> Shrunk {
    let mut search = Search::new(plan, most, fails);
    search.list_calls();
    search.tell_moments();
    search.end()
}

struct Search<F> {
    plan: Plan,
    /// What its run told, once it was tried.
    told: Option<Told>,
    tried: usize,
    most: usize,
    fails: F,
}

impl<F: FnMut(&Plan) -> Option<Told>> Search<F> {
    fn new(plan: &Plan, most: usize, fails: F) -> Self {
        Self { plan: plan.clone(), told: None, tried: 0, most, fails }
    }

    fn end(self) -> Shrunk {
        Shrunk { minimal: !self.is_spent(), tried: self.tried, plan: self.plan }
    }

    fn is_spent(&self) -> bool {
        self.tried >= self.most
    }

    /// Takes the candidate when it fails too.
    fn take(&mut self, candidate: Plan) -> bool {
        if candidate == self.plan || self.is_spent() {
            return false;
        }
        self.tried += 1;
        let told = (self.fails)(&candidate);
        let taken = told.is_some();
        if taken {
            (self.plan, self.told) = (candidate, told);
        }
        taken
    }

    /// What the run of the plan told, as it is now.
    fn told(&mut self) -> Option<Told> {
        if self.told.is_none() && !self.is_spent() {
            self.tried += 1;
            self.told = (self.fails)(&self.plan);
        }
        self.told.clone()
    }

    fn smaller(&mut self) {
        let steps = |plan: &Plan| plan.steps.len();
        let ops = |plan: &Plan| plan.ops.as_ref().map_or(0, Vec::len);
        while self.fewer(steps, |plan, range| drop(plan.steps.drain(range)))
            | self.fewer(ops, |plan, range| drop(plan.ops.as_mut().map(|ops| ops.splice(range, []))))
            | self.simpler()
            && !self.is_spent()
        {}
    }

    /// Lists the calls that were drawn until now.
    fn list_calls(&mut self) -> bool {
        if self.plan.ops.is_some() {
            return true;
        }
        let Some(told) = self.told() else { return false };
        let mut candidate = self.plan.clone();
        candidate.ops = Some(told.ops);
        // Nothing is drawn from these any more.
        for producer in &mut candidate.producers {
            (producer.burst, producer.in_flight, producer.body.1) = (1, 1, producer.body.0);
        }
        self.take(candidate)
    }

    /// Puts moments in the place of times: right after something, or else so long after it.
    fn tell_moments(&mut self) {
        let Some(told) = self.told() else { return };
        let soon = |moment: &Moment| Moment { later_us: 0, ..moment.clone() };
        let all = |plan: &Plan, change: &dyn Fn(&Moment) -> Moment| {
            let mut candidate = plan.clone();
            for (step, moment) in candidate.steps.iter_mut().zip(&told.moments) {
                step.on = step.on.take().or_else(|| moment.as_ref().map(change));
            }
            candidate
        };
        if self.take(all(&self.plan, &soon)) {
            return;
        }
        for (index, moment) in told.moments.iter().enumerate() {
            let Some(moment) = moment.as_ref().filter(|_| self.plan.steps[index].on.is_none()) else {
                continue;
            };
            for moment in [soon(moment), moment.clone()] {
                let mut candidate = self.plan.clone();
                candidate.steps[index].on = Some(moment);
                if self.take(candidate) {
                    break;
                }
            }
        }
    }

    /// Takes steps or calls away: halves first, then ever smaller pieces, in the end each alone. True: there are fewer.
    fn fewer(&mut self, count: fn(&Plan) -> usize, drain: fn(&mut Plan, Range<usize>)) -> bool {
        let before = count(&self.plan);
        let mut size = before;
        while size > 0 && !self.is_spent() {
            let mut at = 0;
            let mut fewer = false;
            while at < count(&self.plan) {
                let mut candidate = self.plan.clone();
                let end = (at + size).min(count(&candidate));
                drain(&mut candidate, at..end);
                if self.take(candidate) {
                    fewer = true;
                } else {
                    at += size;
                }
            }
            // One step may be needed only by one that went after it.
            size = if fewer && size == 1 { 1 } else { size / 2 };
        }
        count(&self.plan) < before
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
        let last = plan.producers.len() - 1;
        if last > 0 && is_free(plan, "p", last) {
            plan.producers.pop();
            plan.ops.iter_mut().for_each(|ops| ops.retain(|op| (op.producer as usize) < last));
        }
    },
    |plan| {
        let last = plan.brokers.len() - 1;
        if last > 0 && is_free(plan, "b", last) {
            plan.brokers.pop();
            let gone = format!("b{last}");
            let stays = |op: &Op| op.to.as_ref().is_none_or(|(broker, _)| *broker != gone);
            plan.ops.iter_mut().for_each(|ops| ops.retain(stays));
        }
    },
    |plan| {
        if plan.name_servers > 1 && is_free(plan, "ns", plan.name_servers as usize - 1) {
            plan.name_servers -= 1;
        }
    },
    |plan| {
        let steps = plan.steps.iter().map(|step| step.at_ms + 1);
        let calls = plan.ops.iter().flatten().map(|op| op.at_us / 1000 + 1);
        let last = steps.chain(calls).max().unwrap_or(0);
        plan.load_ms = (plan.load_ms / 2).max(last).max(1000).min(plan.load_ms);
    },
    |plan| plan.buggify = 0,
    |plan| plan.rare = None,
    |plan| plan.recover_twice = false,
    |plan| plan.queries = 0,
    |plan| plan.shared_keys = 0,
    |plan| plan.by_client = 0,
    |plan| plan.operator_ms = 0,
    |plan| plan.producers.iter_mut().for_each(|producer| producer.twin = false),
    |plan| plan.lock_ms = 0,
    |plan| plan.groups.iter_mut().for_each(|group| group.stuck = None),
    |plan| plan.groups.iter_mut().for_each(|group| group.from_end = false),
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
            if plan.ops.is_none() && matches!(producer.mode, Mode::Batch(_)) {
                producer.mode = Mode::Auto;
            }
        }
    },
];

/// Whether no step names the node.
fn is_free(plan: &Plan, kind: &str, number: usize) -> bool {
    let name = format!("{kind}{number}");
    plan.steps.iter().all(|step| {
        let counted = step.on.as_ref().map(|moment| moment.of.nodes()).unwrap_or_default();
        !step.what.nodes().contains(&name.as_str()) && !counted.contains(&name.as_str())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::moment::Happening;
    use crate::op::Letter;
    use crate::plan::{Step, What};
    use crate::swarm;

    fn told(fails: bool) -> Option<Told> {
        fails.then(Told::default)
    }

    /// A plan with so many steps, each at a time of its own.
    fn plan(steps: u64) -> Plan {
        let mut plan = swarm::plain("any", 1, swarm::Size::QUICK);
        plan.steps = (0..steps).map(|at_ms| Step::new(at_ms, 1, What::Pause { node: "b0".into() })).collect();
        plan
    }

    fn times(plan: &Plan) -> Vec<u64> {
        plan.steps.iter().map(|step| step.at_ms).collect()
    }

    proptest! {
        #[test]
        fn the_steps_that_are_needed_stay_and_no_others(needed in proptest::collection::btree_set(0..40u64, 0..5)) {
            let needed: Vec<u64> = needed.into_iter().collect();
            let shrunk = shrink(&plan(40), 10_000, |plan| told(needed.iter().all(|at| times(plan).contains(at))));
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
            let shrunk = shrink(&plan(20), 10_000, |plan| told(fails(plan)));
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
        plan.steps = vec![Step::new(5, 1, What::Pause { node: "ns1".into() })];
        let shrunk = shrink(&plan, 10_000, |plan| told(!plan.steps.is_empty()));
        assert_eq!((shrunk.plan.name_servers, shrunk.plan.brokers.len(), shrunk.plan.buggify), (2, 1, 0));
        assert_eq!(shrunk.plan.load_ms, 1000);
    }

    #[test]
    fn it_ends_when_the_tries_are_used_up() {
        let shrunk = shrink(&plan(40), 3, |_| told(true));
        assert_eq!((shrunk.tried, shrunk.minimal), (3, false));
    }

    /// A call of the first producer, which begins so many milliseconds after the load.
    fn call(serial: u32) -> Op {
        let letter = Letter { serial, tag: 0, bytes: 16, level: 0 };
        Op { at_us: u64::from(serial) * 1000, messages: vec![letter], ..Op::of(0, 0) }
    }

    #[test]
    fn the_calls_that_are_needed_stay_and_steps_are_told_by_what_they_come_after() {
        let moment = |nth, later_us| Moment { of: Happening::Append("b0".into()), nth, later_us };
        let mut began = plan(2);
        began.brokers.truncate(1);
        // It needs both steps, two of its calls, and that its second step comes a while after its moment.
        let fails = |plan: &Plan| {
            let calls = plan.ops.clone().unwrap_or_else(|| (0..200).map(call).collect());
            let has = |serial| calls.iter().any(|call| call.messages[0].serial == serial);
            let late = plan.steps.get(1).is_some_and(|step| step.on != Some(moment(9, 0)));
            let moments = vec![Some(moment(5, 30)), Some(moment(9, 40))];
            (plan.steps.len() == 2 && has(17) && has(150) && late).then_some(Told { ops: calls, moments })
        };
        let Shrunk { plan, minimal, tried } = shrink(&began, 10_000, fails);
        assert_eq!(plan.ops, Some(vec![call(17), call(150)]));
        let on: Vec<_> = plan.steps.into_iter().map(|step| step.on).collect();
        assert_eq!((on, minimal), (vec![Some(moment(5, 0)), Some(moment(9, 40))], true));
        assert!(tried < 120, "{tried}");
        let pinned = pin(&began, 10, fails);
        assert_eq!(pinned.plan.ops.map(|ops| ops.len()), Some(200));
        assert_eq!(pinned.plan.steps[0].on, Some(moment(5, 0)));
    }
}
