//! The summary for machines that show tests: a JUnit file, and the annotations of GitHub's runners.

use std::fmt::Write as _;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use super::{Summary, text::headline};
use crate::outcome::Verdict;

/// One test case for each scenario; its failures tell how to repeat them.
///
/// # Errors
/// When the text cannot be made.
pub fn junit(summary: &Summary) -> anyhow::Result<String> {
    let mut suite = TestSuite::new("simulation");
    suite.add_property(Property::new("commit", &summary.commit));
    suite.add_property(Property::new("toolchain", &summary.toolchain));
    for (name, scenario) in &summary.scenarios {
        let failures: Vec<_> =
            summary.failures.iter().filter(|failure| failure.first.scenario == *name).collect();
        let mut status = TestCaseStatus::success();
        if let Some(gravest) = failures.first() {
            let kind = match gravest.first.verdict {
                Verdict::Error => NonSuccessKind::Error,
                _ => NonSuccessKind::Failure,
            };
            status = TestCaseStatus::non_success(kind);
            status.set_message(sentence(gravest)).set_type(gravest.signature.clone());
            let mut told = String::new();
            for failure in &failures {
                let _ =
                    writeln!(told, "{} ({} runs): {}", failure.signature, failure.runs, sentence(failure));
                let _ = writeln!(told, "  repeat: {}", failure.first.repeat());
            }
            status.set_description(told);
        }
        let mut case = TestCase::new(name.as_str(), status);
        case.set_classname("scenarios").set_time(Duration::from_secs_f64(scenario.cpu_s));
        let (first, last) = scenario.seeds;
        case.add_property(Property::new("seeds", format!("{first}..={last}")));
        case.add_property(Property::new("runs", scenario.runs().to_string()));
        suite.add_test_case(case);
    }
    let mut report = Report::new(&summary.made_by);
    report.set_time(Duration::from_secs_f64(summary.wall_s)).add_test_suite(suite);
    Ok(report.to_string()?)
}

/// A line for each kind of failure, as GitHub's runners show beside the code that was pushed.
#[must_use]
pub fn github(summary: &Summary) -> String {
    let mut out = String::new();
    for failure in &summary.failures {
        let text = format!("{}\nrepeat: {}", sentence(failure), failure.first.repeat());
        let title = format!("{} {}", failure.first.verdict.name(), failure.signature);
        let _ = writeln!(out, "::error title={}::{}", escape(&title, true), escape(&text, false));
    }
    let _ = writeln!(out, "::notice title=simulation::{}", escape(&headline(summary), false));
    out
}

fn sentence(failure: &super::Failure) -> String {
    let run = &failure.first;
    run.violations.first().map_or_else(|| run.note.clone(), |violation| violation.sentence.clone())
}

/// What the runners take for the end of a line, of a title or of an escape.
fn escape(text: &str, property: bool) -> String {
    let text = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    if property { text.replace(':', "%3A").replace(',', "%2C") } else { text }
}
