//! All scenarios, one file each: what could go wrong, and the plans that try it.

mod batch_and_client_retry;
mod broker_heartbeat_expiry;
mod crash_before_offset_commit;
mod crash_during_roll_over_and_recovery;
mod delay_with_restart_and_clock_jumps;
mod disk_full;
mod first_message;
pub mod list;
mod power_loss_under_sync_flush;
mod query_after_crash;
mod rebalance_during_queue_expansion;
mod retry_to_dead_letter;
mod swarm;
mod transaction_checkback;
#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::list;

    #[test]
    fn every_scenario_file_is_listed() {
        let names: BTreeSet<_> = list::all().iter().map(|scenario| scenario.name.to_owned()).collect();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
        let files =
            std::fs::read_dir(source).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let others = ["lib.rs", "main.rs", "list.rs", "program"];
        let files = files.filter(|name| !others.contains(&name.as_str()));
        assert_eq!(files.map(|name| name.trim_end_matches(".rs").to_owned()).collect::<BTreeSet<_>>(), names);
    }

    #[test]
    fn plans_follow_from_the_seed_alone() {
        for scenario in list::all() {
            for seed in 0..100 {
                let plan = scenario.usual(seed);
                assert_eq!(plan, scenario.usual(seed));
                assert_eq!((plan.scenario.as_str(), plan.seed), (scenario.name, seed));
                assert!(plan.steps.iter().all(|step| step.at_ms < plan.load_ms), "{plan}");
            }
        }
    }

    #[test]
    fn a_plan_with_faults_has_one_that_meets_somebody() {
        for scenario in list::all() {
            for seed in 0..2000 {
                let plan = scenario.usual(seed);
                let counted = plan.steps.iter().any(|step| !step.what.effects().is_empty());
                assert!(!counted || plan.steps.iter().any(|step| lab::swarm::meets(&plan, step)), "{plan}");
            }
        }
    }

    #[test]
    fn every_setting_that_plans_draw_says_what_it_could_bring_to_light() {
        let mut drawn = BTreeSet::new();
        for scenario in list::all() {
            let plans = (0..500).map(|seed| scenario.usual(seed));
            drawn.extend(plans.flat_map(|plan| lab::cover::knobs(&plan).into_keys()));
        }
        let told: BTreeSet<_> = lab::cover::KNOBS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(drawn, told);
        assert!(told.len() >= 60, "{} settings", told.len());
    }

    #[test]
    fn profiles_are_as_large_as_they_say() {
        use lab::plan::Profile;
        use lab::scenario::Drawing;
        for (profile, messages, load_ms, faults) in [
            (Profile::Quick, 2_000.0, 600_000, 10),
            (Profile::Standard, 20_000.0, 1_800_000, 40),
            (Profile::Soak, 500_000.0, 43_200_000, 400),
        ] {
            for scenario in list::all() {
                let mut faulty = 0;
                for seed in 0..20 {
                    let plan = scenario.draw(seed, Drawing { profile, safety_only: false });
                    let planned = plan.messages();
                    assert!(planned >= messages && plan.load_ms >= load_ms, "{planned} messages: {plan}");
                    assert!(
                        plan.faults() == 0 || plan.faults() >= faults,
                        "{} faults: {plan}",
                        plan.faults()
                    );
                    faulty += u32::from(plan.faults() >= faults);
                }
                assert!(faulty > 6, "{} {}: {faulty} of 20", scenario.name, profile.name());
            }
        }
    }

    /// Plans that once failed, as they were then. Seeds change their meaning, these do not.
    #[cfg(madsim)]
    #[test]
    fn plans_that_once_failed_pass() {
        for (name, capsule) in list::capsules().unwrap() {
            let run = lab::drive::run(&capsule.plan, &lab::drive::Options::default()).run;
            assert_eq!(run.exit_code(), 0, "{name}: {} {:?}", run.note, run.violations);
        }
    }

    #[cfg(madsim)]
    #[test]
    fn each_death_is_told_once_and_as_what_it_was() {
        use lab::history::{How, Kind};
        use lab::plan::{Step, What};
        let (_, capsule) = list::capsules()
            .unwrap()
            .into_iter()
            .find(|(name, _)| name == "two_deaths_are_prepared_at_one_crash_point")
            .unwrap();
        let node = || "b0".to_owned();
        let at = |at_ms, nth| {
            let point = "store.append.written".to_owned();
            Step::new(at_ms, 3_000, What::CrashAt { node: node(), point, nth, power: true })
        };
        let killed = |at_ms| Step::new(at_ms, 2_000, What::Crash { node: node(), power: false });
        let cases = [
            ("one after the other", vec![at(50_000, 5), at(50_100, 20)], 2),
            ("one comes, one does not", vec![at(50_000, 5), at(50_100, 1_000_000)], 1),
            ("killed before it comes to the point", vec![at(50_000, 15), killed(51_000)], 1),
            ("killed, and it never comes there", vec![at(50_000, 1_000_000), killed(51_000)], 0),
        ];
        for (case, steps, power) in cases {
            let mut plan = capsule.plan.clone();
            plan.steps = steps;
            let done = lab::drive::run(&plan, &lab::drive::Options::default());
            let told = |how| {
                let downs = done.history.events.iter().filter(|it| it.kind == Kind::Down { how });
                downs.count() as u64
            };
            let struck = |effect: &str| done.run.effects.get(effect).copied().unwrap_or(0);
            assert_eq!(struck("node.power"), power, "{case}");
            assert_eq!(told(How::Power), power, "{case}");
            assert_eq!(told(How::Process), struck("node.crash"), "{case}");
        }
    }

    #[test]
    fn the_page_of_bugs_is_that_of_the_capsules() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../reports/bugs.md");
        let page = std::fs::read_to_string(page).unwrap();
        assert_eq!(page, lab::capsule::bugs(&list::capsules().unwrap()), "run `cargo sim report`");
    }
}
