//! L-10: what stays behind when it should be gone.

use super::{Judged, Rule, View};
use crate::history::Kind;

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    for (number, event) in history.events.iter().enumerate() {
        let Kind::ConnectionEnds { left, .. } = event.kind else { continue };
        judged.count(Rule::L10, 1);
        if left > 0 {
            let name = history.node_name(event.node).to_owned();
            let sentence = format!(
                "A connection of {name} ended with {left} calls in its table that nobody waited for."
            );
            judged.broken(view, Rule::L10, number, name, sentence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::{Expect, Script, run};
    use crate::history::How;

    #[test]
    fn calls_leave_the_table_when_they_are_over() {
        run("L-10", Expect::Broken, "one is left", |s: &mut Script| s.calls_left(1));
        run("L-10", Expect::Broken, "many are left on one of several connections", |s| {
            s.calls_left(0);
            s.calls_left(40);
            s.calls_left(0);
        });
        run("L-10", Expect::Kept, "none is left", |s| s.calls_left(0));
        run("L-10", Expect::Kept, "a node dies and cannot tell", |s| {
            s.calls_left(0);
            s.crash("b0", How::Process);
        });
    }
}
