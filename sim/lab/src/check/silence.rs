//! L-13: nobody who is well is given up as silent, and nobody who is silent is waited for.

use std::collections::{BTreeMap, BTreeSet};

use super::view::Trouble;
use super::{Judged, Rule, SECOND, View, seconds};
use crate::history::{Kind, NodeId, TopicId, Why};

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    let troubles = view.troubles();
    given_up(view, &troubles, judged);
    connections(view, judged);
    sends(view, judged);
    name_servers(view, &troubles, judged);
}

/// Who has been well for longer than it takes to be heard again is not given up.
fn given_up(view: &View<'_>, troubles: &[Trouble], judged: &mut Judged) {
    let history = view.history;
    for (number, event) in history.events.iter().enumerate() {
        let (Kind::GivenUp { client: silent } | Kind::Removed { broker: silent, why: Why::Expired }) =
            event.kind
        else {
            continue;
        };
        judged.count(Rule::L13, 1);
        let since = event.at_ns.saturating_sub(HEARD);
        let shaken = |node| shaken(troubles, node, since, event.at_ns);
        if shaken(silent) || shaken(event.node) {
            continue;
        }
        let (who, by) = (history.node_name(silent), history.node_name(event.node));
        let sentence = format!(
            "At {} {by} gave {who} up as silent, and nothing had been wrong with either for {}.",
            seconds(event.at_ns),
            seconds(HEARD)
        );
        judged.broken(view, Rule::L13, number, who.to_owned(), sentence);
    }
}

/// What a connection waits for has an end: a call its time-out, and silence the longest that is borne.
fn connections(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    for (number, event) in history.events.iter().enumerate() {
        let Kind::ConnectionEnds { overdue_ms, silent_ms, .. } = event.kind else { continue };
        judged.count(Rule::L13, 1);
        let late = [
            (overdue_ms, OVERDUE, "a call that should have been over"),
            (silent_ms, IDLE, "nothing moving on it"),
        ];
        for (waited_ms, most, what) in late {
            let waited = waited_ms * MS;
            let held_up = || view.slowed(event.node, event.at_ns.saturating_sub(waited), event.at_ns);
            if waited > most && !held_up() {
                let name = history.node_name(event.node);
                let sentence = format!(
                    "A connection of {name} ended at {} with {what} for {}.",
                    seconds(event.at_ns),
                    seconds(waited)
                );
                judged.broken(view, Rule::L13, number, name.to_owned(), sentence);
            }
        }
    }
}

/// A send is over when its time is, whatever its attempts came to. In a transaction the program has its part.
fn sends(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    for (message, send) in
        history.messages.iter().zip(&view.sends).filter(|(message, _)| !message.transactional)
    {
        let (Some(invoked), Some(returned)) = (send.invoked, send.returned) else { continue };
        let producer = history.producers[message.producer as usize];
        let (from, until) = (view.at(invoked), view.at(returned));
        judged.count(Rule::L13, 1);
        if until - from > producer.limit_ms * MS + OVERDUE && !view.slowed(producer.node, from, until) {
            let name = history.node_name(producer.node);
            let sentence = format!(
                "A send of {name} that had {} returned after {}.",
                seconds(producer.limit_ms * MS),
                seconds(until - from)
            );
            judged.broken(view, Rule::L13, returned, name.to_owned(), sentence);
        }
    }
}

/// A client hears of some name server every half minute about each topic that it has found once, as long as it and one of
/// them are well; when all are, at once.
fn name_servers(view: &View<'_>, troubles: &[Trouble], judged: &mut Judged) {
    let history = view.history;
    let servers: Vec<NodeId> = (0..).map_while(|index| history.known_node(&format!("ns{index}"))).collect();
    let clients = history.producers.iter().map(|it| it.node).chain(history.members.iter().map(|it| it.node));
    let clients: Vec<NodeId> = clients.collect();
    let end = view.drained.map_or(view.last(), |(event, ..)| event);
    let mut heard: BTreeMap<(NodeId, TopicId), u64> = BTreeMap::new();
    // What they ask on their way out is the last of it.
    let mut leaving: BTreeSet<NodeId> = BTreeSet::new();
    let mut judge = |(client, topic): (NodeId, TopicId), since: u64, number: usize| {
        judged.count(Rule::L13, 1);
        let until = view.at(number);
        let well = |node: &NodeId| !shaken(troubles, *node, since, until);
        let calm = |node: &NodeId| !shaken(troubles, *node, since.saturating_sub(PERIOD), until);
        let all = !history.rare_ways && servers.iter().chain([&client]).all(calm);
        let most = if all { PERIOD + OVERDUE } else { ROUTES };
        if until - since <= most || !well(&client) || !servers.iter().any(well) {
            return;
        }
        let name = history.node_name(client);
        let sentence = format!(
            "From {} to {} {name} heard nothing of any name server about {}, though {} well all the time.",
            seconds(since),
            seconds(until),
            history.topic_name(topic),
            if all { "all of them were" } else { "one of them was" }
        );
        judged.broken(view, Rule::L13, number, name.to_owned(), sentence);
    };
    for (number, event) in history.events.iter().enumerate().take(end + 1) {
        match event.kind {
            Kind::RouteAnswered { topic, found }
                if clients.contains(&event.node) && !leaving.contains(&event.node) =>
            {
                let key = (event.node, topic);
                if let Some(since) = heard.get(&key) {
                    judge(key, *since, number);
                }
                // Who was told that there is none may ask no more.
                if found || heard.contains_key(&key) {
                    heard.insert(key, event.at_ns);
                }
            }
            Kind::Joined { .. } => drop(leaving.remove(&event.node)),
            Kind::Down { .. } => heard.retain(|(client, _), _| *client != event.node),
            Kind::Leaves { .. } => {
                leaving.insert(event.node);
                heard.retain(|(client, _), _| *client != event.node);
            }
            _ => {}
        }
    }
    for (key, since) in heard {
        judge(key, since, end);
    }
}

/// Whether something was wrong with a node, or with everybody, at some moment.
pub(super) fn shaken(troubles: &[Trouble], node: NodeId, from: u64, until: u64) -> bool {
    troubles.iter().any(|it| it.touches(node) && it.from_ns <= until && it.until_ns >= from)
}

const MS: u64 = 1_000_000;
/// A registration comes once a minute at least and a heartbeat twice; so long after a fault there was one.
const HEARD: u64 = 90 * SECOND;
/// A moment behind its time-out a call is over.
const OVERDUE: u64 = SECOND;
/// Two minutes and a moment.
const IDLE: u64 = 125 * SECOND;
/// Clients ask every 30 s, for a few topics one after the other.
const PERIOD: u64 = 30 * SECOND;
/// The same where each silent name server costs 3 s.
const ROUTES: u64 = 75 * SECOND;

#[cfg(test)]
mod tests {
    use super::super::script::{Expect, Script, run};
    use crate::history::{How, Outcome, Why};

    #[test]
    fn who_is_well_is_not_given_up() {
        run("L-13", Expect::Broken, "a member long after a fault", |s: &mut Script| {
            let fault = s.begin(&["c0", "b0"]);
            s.over(fault);
            s.wait(125.0);
            s.gives_up("c0");
        });
        run("L-13", Expect::Broken, "a broker, while another one is down", |s| {
            s.broker("b1");
            s.down("b1", How::Process);
            s.registered("ns0", "b0", 1);
            s.wait(125.0);
            s.removed("ns0", "b0", Why::Expired);
        });
        run("L-13", Expect::Kept, "it was cut off until a minute ago", |s| {
            let fault = s.begin(&["c0", "b0"]);
            s.wait(100.0);
            s.over(fault);
            s.wait(60.0);
            s.gives_up("c0");
        });
        run("L-13", Expect::Kept, "it is down", |s| {
            s.down("c0", How::Power);
            s.wait(125.0);
            s.gives_up("c0");
        });
        run("L-13", Expect::Kept, "its connection closed", |s| {
            s.registered("ns0", "b0", 1);
            s.wait(125.0);
            s.removed("ns0", "b0", Why::Closed);
        });
    }

    #[test]
    fn no_connection_waits_for_ever() {
        run("L-13", Expect::Broken, "a call is late", |s: &mut Script| {
            s.wait(200.0);
            s.connection_ends(0, 20_000, 0);
        });
        run("L-13", Expect::Broken, "nothing moves", |s| {
            s.wait(200.0);
            s.connection_ends(0, 0, 130_000);
        });
        run("L-13", Expect::Kept, "both in time", |s| {
            s.wait(200.0);
            s.connection_ends(0, 400, 120_500);
        });
        run("L-13", Expect::Kept, "its node stood still", |s| {
            let pause = s.slow(&["b0"]);
            s.wait(200.0);
            s.over(pause);
            s.connection_ends(0, 180_000, 190_000);
        });
    }

    #[test]
    fn a_send_ends_in_its_time() {
        let takes = |s: &mut Script, seconds: f64| {
            s.send("a");
            s.wait(seconds);
            s.returned("a", Outcome::Unknown, None);
        };
        run("L-13", Expect::Broken, "much longer", |s: &mut Script| takes(s, 22.4));
        run("L-13", Expect::Broken, "longer, while another client stood still", |s| {
            let pause = s.slow(&["c0"]);
            takes(s, 4.5);
            s.over(pause);
        });
        run("L-13", Expect::Kept, "just about", |s| takes(s, 3.01));
        run("L-13", Expect::Kept, "its own node stood still", |s| {
            let pause = s.slow(&["p0"]);
            takes(s, 10.0);
            s.over(pause);
        });
    }

    #[test]
    fn a_client_goes_on_to_the_next_name_server() {
        let silent = |s: &mut Script, seconds: f64| {
            s.route_answered("c0", "t", true);
            s.wait(seconds);
            s.route_answered("c0", "t", true);
        };
        run("L-13", Expect::Broken, "one is down, and another is well", |s: &mut Script| {
            s.name_servers(2);
            s.down("ns0", How::Process);
            silent(s, 100.0);
        });
        run("L-13", Expect::Broken, "it never hears of any again", |s| {
            s.name_servers(1);
            s.route_answered("c0", "t", true);
            s.wait(100.0);
            s.drained(0);
        });
        run("L-13", Expect::Broken, "it hears of another topic only", |s| {
            s.name_servers(1);
            s.route_answered("c0", "t", true);
            for _ in 0..2 {
                s.wait(30.0);
                s.route_answered("c0", "u", false);
            }
            s.route_answered("c0", "t", true);
        });
        let leaves = |returns: bool| {
            move |s: &mut Script| {
                s.name_servers(1);
                s.route_answered("c0", "t", true);
                s.leaves("c0");
                if returns {
                    s.joined("c0");
                }
                s.route_answered("c0", "t", true);
                s.wait(100.0);
                s.drained(0);
            }
        };
        run("L-13", Expect::Broken, "it left and is there again", leaves(true));
        run("L-13", Expect::Kept, "it asks once more on its way out", leaves(false));
        run("L-13", Expect::Kept, "the only one is down", |s| {
            s.name_servers(1);
            s.down("ns0", How::Process);
            silent(s, 100.0);
        });
        run("L-13", Expect::Kept, "it is in time", |s| {
            s.name_servers(2);
            s.down("ns0", How::Process);
            silent(s, 40.0);
        });
        run("L-13", Expect::Kept, "it was restarted meanwhile", |s| {
            s.name_servers(1);
            s.route_answered("c0", "t", true);
            s.crash("c0", How::Process);
            s.wait(100.0);
            s.route_answered("c0", "t", true);
        });
        run("L-13", Expect::Kept, "there was no such topic, and it asks no more", |s| {
            s.name_servers(1);
            s.route_answered("c0", "t", false);
            s.wait(100.0);
            s.route_answered("c0", "t", true);
        });
        run("L-13", Expect::Kept, "a fault was over a moment ago, and it comes with the next round", |s| {
            s.name_servers(1);
            s.crash("ns0", How::Process);
            silent(s, 60.0);
        });
    }
}
