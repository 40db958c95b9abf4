//! The settings of a plan, for a histogram: what is never drawn is never tested.

use std::collections::BTreeMap;

use crate::explain::options;
use crate::plan::Plan;

/// Each setting of a plan but its faults, with the value of the last place that has it; large numbers by their magnitude.
#[must_use]
pub fn knobs(plan: &Plan) -> BTreeMap<String, String> {
    let settings = options::flat(plan).into_iter().filter(|(name, _)| is_knob(name));
    settings.map(|(name, value)| (without_places(&name), magnitude(&value))).collect()
}

fn is_knob(name: &str) -> bool {
    !(name.starts_with("steps") || name.ends_with(".name") || matches!(name, "scenario" | "seed"))
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
    use crate::swarm;

    #[test]
    fn a_plan_has_dozens_of_settings_and_none_is_a_name_or_a_place() {
        let mut names = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut plan = swarm::plain("any", seed, swarm::Size::QUICK);
            swarm::knobs(&mut plan);
            names.extend(knobs(&plan).into_keys());
        }
        assert!(names.len() >= 50, "{} settings: {names:?}", names.len());
        assert!(names.contains("brokers.log_file_bytes") && names.contains("brokers.config maxIndexNum"));
        assert!(!names.iter().any(|name| name.contains(".0") || name.contains("name.")), "{names:?}");
    }

    #[test]
    fn large_numbers_are_told_by_their_magnitude() {
        let told = ["3", "16", "1000", "5 to 40", "-20", "true"].map(magnitude);
        assert_eq!(told, ["3", "16 to 31", "512 to 1023", "32 to 63", "-16 to -31", "true"]);
    }
}
