//! The `sim` program: runs scenarios in the simulated world and reports. One file per scenario beside this one.
#![cfg_attr(not(madsim), allow(dead_code, reason = "without the simulator there is nothing to run"))]

mod broker_heartbeat_expiry;
mod crash_before_offset_commit;
mod first_message;
mod list;
mod rebalance_during_queue_expansion;

#[cfg(madsim)]
mod program;

#[cfg(madsim)]
fn main() -> std::process::ExitCode {
    program::main()
}

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    eprintln!("this program was built without the simulator: run it as `cargo sim`, with RUSTFLAGS unset");
    std::process::ExitCode::from(2)
}

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
        let others = ["main.rs", "list.rs", "program"];
        let files = files.filter(|name| !others.contains(&name.as_str()));
        assert_eq!(files.map(|name| name.trim_end_matches(".rs").to_owned()).collect::<BTreeSet<_>>(), names);
    }

    #[test]
    fn plans_follow_from_the_seed_alone() {
        for scenario in list::all() {
            for seed in 0..100 {
                let plan = (scenario.plan)(seed);
                assert_eq!(plan, (scenario.plan)(seed));
                assert_eq!((plan.scenario.as_str(), plan.seed), (scenario.name, seed));
                assert!(plan.steps.iter().all(|step| step.at_ms < plan.load_ms), "{plan}");
            }
        }
    }
}
