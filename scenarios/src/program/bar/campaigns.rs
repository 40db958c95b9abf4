//! What campaigns tell: how fast runs are, what they cost, whether they alarm, and what they come to.

use lab::report::Summary;

use super::super::{bench, cover};
use super::{Row, Verdict, judged};

pub(super) fn speed(quick: &Summary) -> Row {
    let busy = bench::busy();
    let speeds: Vec<f64> = quick.scenarios.values().map(|scenario| scenario.speed_median).collect();
    let speed = bench::median(speeds.into_iter());
    Row {
        id: "N1",
        goal: ">= 1,000 simulated s per CPU-s on quick plans; at >= 1,000 frames per simulated s >= 100,000 frames per CPU-s",
        measured: format!(
            "{speed:.0} s per CPU-s (median of scenarios); {:.0} frames per CPU-s at {:.0} frames per simulated s, {:.0} us of CPU per \
             message",
            busy.per_cpu_s, busy.per_simulated_s, busy.each_us
        ),
        verdict: judged(
            speed >= 1000.0 && busy.per_cpu_s >= 100_000.0 && busy.per_simulated_s >= 1000.0,
            "no function takes 6 % of a busy run: most of it is the system's own code (codecs, store, client), built with its \
             assertions on",
        ),
    }
}

pub(super) fn cost(quick: &Summary, standard: &Summary) -> Row {
    let told = |summary: &Summary| (summary.cpu_ms(50) / 1e3, summary.cpu_ms(99) / 1e3);
    let (quick, standard) = (told(quick), told(standard));
    Row {
        id: "N2",
        goal: "CPU per seed: quick median <= 0.4 s, standard median <= 2.0 s, p99 <= 10 s",
        measured: format!(
            "quick: median {:.2} s, p99 {:.2} s; standard: median {:.2} s, p99 {:.2} s",
            quick.0, quick.1, standard.0, standard.1
        ),
        verdict: judged(
            quick.0 <= 0.4 && standard.0 <= 2.0 && quick.1.max(standard.1) <= 10.0,
            "plans cost more than they should",
        ),
    }
}

pub(super) fn rate(quick: &Summary, standard: &Summary) -> Row {
    let alone = |summary: &Summary| 2.0 * 60.0 * summary.seeds as f64 / summary.cpu_s.max(1e-9);
    let (each, day) = (alone(standard), alone(standard) * 24.0 * 60.0);
    Row {
        id: "N3",
        goal: "quick >= 240 seeds/min, standard >= 50 seeds/min on 2 cores; >= 60,000 standard seeds a day",
        measured: format!(
            "by CPU time, on two cores with nothing else to do: {:.0} quick and {each:.0} standard seeds/min, {day:.0} standard seeds a day",
            alone(quick)
        ),
        verdict: judged(
            alone(quick) >= 240.0 && each >= 50.0 && day >= 60_000.0,
            "plans cost more than they should",
        ),
    }
}

pub(super) fn false_alarms(largest: &Summary) -> Row {
    let bad = largest.seeds - largest.count(lab::outcome::Verdict::Pass);
    Row {
        id: "N10",
        goal: "0 false failures in 10,000 seeds of clean main",
        measured: format!("{bad} of {} runs did not pass (commit {})", largest.seeds, largest.commit),
        verdict: match bad {
            0 if largest.seeds < 10_000 => Verdict::NotMeasured(
                "fewer seeds were run: run `cargo sim sweep --seeds 0..770`, 10,010 runs, before".to_owned(),
            ),
            0 => Verdict::Met,
            _ => Verdict::Missed("each is a bug or a wrong rule: `cargo sim explain` tells".to_owned()),
        },
    }
}

pub(super) fn reach(largest: &Summary) -> Row {
    let coverage = &largest.coverage;
    let (all, unmet) = (lab::cover::properties::all().count(), coverage.unmet().count());
    let never = cover::pairs(coverage).len();
    let pairs = coverage.planned.len() * lab::cover::FEATURES.len();
    Row {
        id: "N11",
        goal: ">= 150 sometimes-properties, all met within 1,000 seeds; every pair of fault and feature within 10,000",
        measured: format!(
            "{} of {all} properties met, {} of {pairs} pairs, in {} seeds (commit {})",
            all - unmet,
            pairs - never,
            largest.seeds,
            largest.commit
        ),
        verdict: match (unmet, never) {
            (0, 0) if all >= 150 => Verdict::Met,
            _ if largest.seeds < 1000 => Verdict::NotMeasured(format!(
                "only {} seeds were run; without --quick there are more",
                largest.seeds
            )),
            (0, _) if largest.seeds < 10_000 => Verdict::NotMeasured(format!(
                "{never} pairs were not met yet; 10,000 seeds are allowed for them"
            )),
            _ => Verdict::Missed("`cargo sim cover` lists what was never met".to_owned()),
        },
    }
}

/// Directed scenarios draw only what they are about: which kinds there are, and how often, is the swarm's to draw.
pub(super) fn effects(quick: &Summary) -> Row {
    let weak = cover::weak(&quick.coverage);
    let swarm = quick.scenarios.get("swarm");
    let share = |runs: &u64| *runs as f64 / swarm.map_or(1, |swarm| swarm.runs()).max(1) as f64;
    let rare: Vec<_> = swarm
        .into_iter()
        .flat_map(|swarm| &swarm.tried)
        .map(|(kind, runs)| (kind.as_str(), share(runs)))
        .filter(|(_, share)| !(0.2..=0.6).contains(share))
        .collect();
    let told = |kinds: &[(&str, f64)]| match kinds {
        [] => "none".to_owned(),
        kinds => {
            let told = kinds.iter().map(|(kind, share)| format!("{kind} {:.0} %", share * 100.0));
            told.collect::<Vec<_>>().join(", ")
        }
    };
    Row {
        id: "N12",
        goal: "each enabled class of faults has an effect in >= 95 % of its seeds, and is enabled in 20 to 60 % of seeds",
        measured: format!(
            "strike in fewer than 95 % of their seeds: {}; of the swarm's seeds not 20 to 60 % have: {}",
            told(&weak),
            told(&rare)
        ),
        verdict: judged(
            weak.is_empty() && rare.is_empty() && !quick.coverage.planned.is_empty(),
            "a fault at the n-th passage of a point may come too late, and with so many kinds each has its share of a plan",
        ),
    }
}

pub(super) fn checkers(standard: &Summary) -> Row {
    let check_s: f64 = standard.scenarios.values().map(|scenario| scenario.check_s).sum();
    let share = 100.0 * check_s / standard.cpu_s.max(1e-9);
    let million = 1e6 * check_s / standard.events.max(1) as f64;
    Row {
        id: "N13",
        goal: "checkers <= 20 % of a seed's CPU; 1,000,000 events in <= 5 s",
        measured: format!(
            "standard seeds: {share:.1} %; at the same rate {million:.1} s for 1,000,000 events"
        ),
        verdict: judged(share <= 20.0 && million <= 5.0, "checkers take too long"),
    }
}
