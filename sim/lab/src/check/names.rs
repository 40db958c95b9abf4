//! NS-1 to NS-3: what name servers answer about brokers, against what they were told.

use std::collections::{BTreeMap, BTreeSet};

use super::silence::shaken;
use super::view::Trouble;
use super::{Judged, Rule, SECOND, View, seconds};
use crate::history::{How, Kind, NodeId, TopicId, Why};

/// L-1: a broker whose connection to a name server broke registers again at once, when nothing else is wrong.
fn known_again(view: &View<'_>, troubles: &[Trouble], judged: &mut Judged) {
    let history = view.history;
    let end = view.drained.map_or(view.last(), |(event, ..)| event);
    for (number, event) in history.events.iter().enumerate().take(end) {
        let Kind::Removed { broker, why: Why::Closed } = event.kind else { continue };
        let until = event.at_ns + AGAIN;
        // Only a break that took no time may have been the reason: what lasted is felt for a while.
        let calm = |it: &Trouble| {
            let moment = it.until_ns - it.from_ns < SOON && it.until_ns < event.at_ns + SOON;
            it.from_ns > until || it.until_ns.saturating_add(CALM) < event.at_ns || moment
        };
        let near = |it: &&Trouble| it.touches(broker) || it.touches(event.node);
        if until > view.at(end) || !troubles.iter().filter(near).all(calm) {
            continue;
        }
        judged.count(Rule::L1, 1);
        let later = history.events[number..].iter().take_while(|it| it.at_ns <= until);
        let again = |kind| matches!(kind, Kind::Registered { broker: it, .. } if it == broker);
        if !later.filter(|it| it.node == event.node).any(|it| again(it.kind)) {
            let (server, name) = (history.node_name(event.node), history.node_name(broker));
            let sentence = format!(
                "The connection of {name} to {server} was closed at {}, and {name} was not known there again {} later, \
                 though nothing else was wrong.",
                seconds(event.at_ns),
                seconds(AGAIN)
            );
            judged.broken(view, Rule::L1, number, name.to_owned(), sentence);
        }
    }
}

/// NS-3: each name server that knows a broker hears soon of a change of its topics, when nothing is wrong with either.
fn told_at_once(view: &View<'_>, troubles: &[Trouble], judged: &mut Judged) {
    let history = view.history;
    let end = view.drained.map_or(view.last(), |(event, ..)| event);
    // What each server has not heard of since when, and by which event.
    let mut unheard: BTreeMap<(NodeId, NodeId), Option<(u64, usize)>> = BTreeMap::new();
    let mut judge = |(server, broker): (NodeId, NodeId), (since, number): (u64, usize), until: u64| {
        judged.count(Rule::Ns3, 1);
        let quiet = |node| !shaken(troubles, node, since.saturating_sub(CALM), until);
        if until - since > TOLD && quiet(server) && quiet(broker) {
            let (server, broker) = (history.node_name(server), history.node_name(broker));
            let sentence = format!(
                "The topics of {broker} changed at {}, and {server} had not heard of it {} later.",
                seconds(since),
                seconds(until - since)
            );
            judged.broken(view, Rule::Ns3, number, broker.to_owned(), sentence);
        }
    };
    for (number, event) in history.events.iter().enumerate().take(end) {
        match event.kind {
            Kind::TopicSet { broker, .. } | Kind::TopicUnlisted { broker, .. } => {
                for (_, since) in unheard.iter_mut().filter(|((_, of), _)| *of == broker) {
                    since.get_or_insert((event.at_ns, number));
                }
            }
            Kind::Registered { broker, .. } => {
                let pair = (event.node, broker);
                if let Some(Some(since)) = unheard.insert(pair, None) {
                    judge(pair, since, event.at_ns);
                }
            }
            Kind::Removed { broker, .. } => drop(unheard.remove(&(event.node, broker))),
            Kind::Down { .. } => {
                unheard.retain(|(server, broker), _| ![*server, *broker].contains(&event.node));
            }
            _ => {}
        }
    }
    for (pair, since) in unheard {
        if let Some(since) = since {
            judge(pair, since, view.at(end));
        }
    }
}

/// What a name server knows of a broker.
#[derive(Clone, Copy, Default)]
struct Known {
    registered: Option<(u64, u64)>, // time and connection
    unregistered: Option<u64>,
    removed: bool,
}

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    one_snapshot(view, judged);
    if history.untapped {
        return by_deaths(view, judged);
    }
    let troubles = view.troubles();
    known_again(view, &troubles, judged);
    told_at_once(view, &troubles, judged);
    registered_last(view, &troubles, judged);
    let mut known: BTreeMap<(NodeId, NodeId), Known> = BTreeMap::new();
    let mut closed: BTreeMap<(NodeId, u64), u64> = BTreeMap::new();
    for (number, event) in history.events.iter().enumerate() {
        let server = event.node;
        match event.kind {
            Kind::Registered { broker, peer, .. } => {
                let entry = known.entry((server, broker)).or_default();
                // What was held up on an earlier connection must not stand for the broker's newer one.
                let before = entry.registered.filter(|_| !entry.removed).map_or(0, |(_, before)| before);
                *entry = Known { registered: Some((event.at_ns, peer.max(before))), ..Known::default() };
            }
            Kind::Heard { broker, peer } => {
                // It keeps a registration alive, but makes none.
                let entry = known.entry((server, broker)).or_default();
                if let Some((_, before)) = entry.registered.filter(|_| !entry.removed) {
                    // What was held up on an earlier connection may still arrive.
                    entry.registered = Some((event.at_ns, peer.max(before)));
                }
            }
            Kind::Removed { broker, why } => {
                let entry = known.entry((server, broker)).or_default();
                entry.removed = true;
                if why == Why::Unregistered {
                    entry.unregistered = Some(event.at_ns);
                }
            }
            Kind::PeerClosed { peer } => drop(closed.entry((server, peer)).or_insert(event.at_ns)),
            Kind::Down { .. } => {
                known.retain(|(of, _), _| *of != server);
                closed.retain(|(of, _), _| *of != server);
            }
            Kind::Routes { asked_ns, brokers, whole_cluster } => {
                for (index, broker) in history.brokers.iter().enumerate() {
                    let Some(Known { registered: Some((at, peer)), unregistered, .. }) =
                        known.get(&(server, broker.node)).copied()
                    else {
                        continue;
                    };
                    let names = (history.node_name(server), history.node_name(broker.node));
                    let gone = closed.get(&(server, peer)).copied();
                    let listed = brokers & (1 << index) != 0;
                    if listed {
                        judged.count(Rule::Ns1, 1);
                        let slow = view.slowed(server, at, event.at_ns);
                        if asked_ns > at + SILENT && !slow {
                            let sentence = format!(
                                "Name server {} listed broker {} at {}, {} after it had last heard of it.",
                                names.0,
                                names.1,
                                seconds(asked_ns),
                                seconds(asked_ns - at)
                            );
                            judged.broken(view, Rule::Ns1, number, names.1.to_owned(), sentence);
                        } else if let Some(gone) = gone.filter(|gone| asked_ns > gone + CLOSED && !slow) {
                            let sentence = format!(
                                "Name server {} listed broker {} at {}, {} after its connection had closed.",
                                names.0,
                                names.1,
                                seconds(asked_ns),
                                seconds(asked_ns - gone)
                            );
                            judged.broken(view, Rule::Ns1, number, names.1.to_owned(), sentence);
                        }
                    } else if whole_cluster && asked_ns >= at && event.at_ns <= at + FRESH {
                        judged.count(Rule::Ns2, 1);
                        if gone.is_none() && unregistered.is_none() {
                            let sentence = format!(
                                "Name server {} did not list broker {} at {}, {} after it had registered.",
                                names.0,
                                names.1,
                                seconds(event.at_ns),
                                seconds(event.at_ns - at)
                            );
                            judged.broken(view, Rule::Ns2, number, names.1.to_owned(), sentence);
                        }
                    } else if !whole_cluster {
                        judged.count(Rule::Ns1, 1);
                    }
                    if listed && whole_cluster && event.at_ns <= at + FRESH {
                        judged.count(Rule::Ns2, 1);
                    }
                }
            }
            _ => {}
        }
    }
}

/// NS-1 and NS-2 where no taps tell when a name server heard of a broker: one whose process died is not listed any more
/// when its connections are closed, and one that was listed stays so as long as nothing happens to it.
fn by_deaths(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    // Since when each server has been listing each broker.
    let mut listing: BTreeMap<(NodeId, NodeId), u64> = BTreeMap::new();
    for (number, event) in history.events.iter().enumerate() {
        let Kind::Routes { asked_ns, brokers, whole_cluster: true } = event.kind else { continue };
        let server = event.node;
        for (index, broker) in history.brokers.iter().map(|broker| broker.node).enumerate() {
            let names = (history.node_name(server), history.node_name(broker));
            let touched = |since| {
                view.disturbed(server, since, event.at_ns) || view.disturbed(broker, since, event.at_ns)
            };
            let down = |node| view.outages_of(node).iter().rfind(|outage| outage.from_ns <= event.at_ns);
            let dead = down(broker).filter(|dead| dead.until_ns > event.at_ns);
            judged.count(Rule::Ns1, u64::from(dead.is_some()));
            if brokers & (1 << index) != 0 {
                listing.entry((server, broker)).or_insert(event.at_ns);
                let Some(dead) = dead else { continue };
                if asked_ns > dead.from_ns + CLOSED && !touched(dead.from_ns) {
                    let sentence = format!(
                        "Name server {} listed broker {} at {}, {} after its process was gone.",
                        names.0,
                        names.1,
                        seconds(asked_ns),
                        seconds(asked_ns - dead.from_ns)
                    );
                    judged.broken(view, Rule::Ns1, number, names.1.to_owned(), sentence);
                }
            } else if let Some(since) = listing.remove(&(server, broker)) {
                // One that is asked to end says good-bye before it is gone.
                let fell = |node| {
                    let ends = event.at_ns + STOPS;
                    view.outages_of(node).iter().any(|it| it.until_ns >= since && it.from_ns <= ends)
                };
                judged.count(Rule::Ns2, 1);
                if !fell(server) && !fell(broker) && !touched(since) {
                    let sentence = format!(
                        "Name server {} did not list broker {} at {}, though it had listed it and nothing had happened to either.",
                        names.0,
                        names.1,
                        seconds(event.at_ns)
                    );
                    judged.broken(view, Rule::Ns2, number, names.1.to_owned(), sentence);
                }
            }
        }
    }
}

/// NS-3: no answer names queues of a broker that cannot be reached, or a broker without its queues, and no name server goes
/// back to older topics of a broker.
fn one_snapshot(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let mut versions: BTreeMap<(NodeId, NodeId), (u64, u64)> = BTreeMap::new();
    let mut restarted: BTreeSet<NodeId> = BTreeSet::new();
    for (number, event) in history.events.iter().enumerate() {
        let server = history.node_name(event.node);
        match event.kind {
            Kind::RouteTold { queues, addresses } => {
                judged.count(Rule::Ns3, 1);
                let half = (0..).zip(&history.brokers).find(|(at, _)| (queues ^ addresses) & (1 << at) != 0);
                let Some((place, broker)) = half else { continue };
                let (with, without) = match queues & (1 << place) {
                    0 => ("an address", "no queue"),
                    _ => ("queues", "no address"),
                };
                let name = history.node_name(broker.node).to_owned();
                let sentence = format!(
                    "At {} name server {server} answered with {with} of {name}, and with {without} of it.",
                    seconds(event.at_ns)
                );
                judged.broken(view, Rule::Ns3, number, name, sentence);
            }
            Kind::Registered { broker, version, peer, .. } => {
                judged.count(Rule::Ns3, 1);
                let told = versions.insert((event.node, broker), (version, peer));
                let (before, over) = told.unwrap_or((0, peer));
                // A name server that stood still hears the dead first, and then who was started in their place.
                let anew = peer > over && restarted.contains(&broker);
                if version < before && !anew {
                    let name = history.node_name(broker).to_owned();
                    let sentence = format!(
                        "At {} name server {server} took version {version} of the topics of {name}, which had told version {before} before.",
                        seconds(event.at_ns)
                    );
                    judged.broken(view, Rule::Ns3, number, name, sentence);
                }
            }
            // Who has dropped a broker takes the first word that comes.
            Kind::Removed { broker, .. } => drop(versions.remove(&(event.node, broker))),
            // What was not on the disk yet is counted anew; what was under way from the dead may have come before.
            Kind::Down { .. } | Kind::Up => {
                restarted.insert(event.node);
                versions.retain(|(of, broker), _| ![*of, *broker].contains(&event.node));
            }
            _ => {}
        }
    }
}

/// NS-3: a broker whose queues of a topic have not changed for a while has registered them, when nothing is wrong with it
/// or the name server, and that answers so.
fn registered_last(view: &View<'_>, troubles: &[Trouble], judged: &mut Judged) {
    let history = view.history;
    let mut queues: BTreeMap<(TopicId, NodeId), (u64, u32)> = BTreeMap::new(); // since when, and how many
    let mut registered: BTreeMap<(NodeId, NodeId), u64> = BTreeMap::new();
    for (number, event) in history.events.iter().enumerate() {
        match event.kind {
            Kind::TopicSet { topic, broker, read, .. } => {
                queues.insert((topic, broker), (event.at_ns, read));
            }
            Kind::TopicUnlisted { topic, broker } => drop(queues.remove(&(topic, broker))),
            Kind::Registered { broker, .. } => drop(registered.insert((event.node, broker), event.at_ns)),
            Kind::Removed { broker, .. } => drop(registered.remove(&(event.node, broker))),
            Kind::Down { how } => {
                registered.retain(|(server, broker), _| ![*server, *broker].contains(&event.node));
                queues.retain(|(_, broker), _| how != How::Disk || *broker != event.node);
            }
            Kind::Offered { topic, broker, asked_ns, read, .. } => {
                let known = queues.get(&(topic, broker)).zip(registered.get(&(event.node, broker)));
                let Some((&(since, now), &last)) = known else { continue };
                // What was held up came within that time.
                let quiet = |node| !shaken(troubles, node, last.saturating_sub(CALM), event.at_ns);
                if last >= asked_ns || last < since + CALM || !quiet(event.node) || !quiet(broker) {
                    continue;
                }
                judged.count(Rule::Ns3, 1);
                if read != now {
                    let name = history.node_name(broker).to_owned();
                    let sentence = format!(
                        "At {} name server {} answered that {} has {read} queues on {name}; it has had {now} for {}, \
                         and registered {} before.",
                        seconds(event.at_ns),
                        history.node_name(event.node),
                        history.topic_name(topic),
                        seconds(event.at_ns - since),
                        seconds(event.at_ns - last)
                    );
                    judged.broken(view, Rule::Ns3, number, name, sentence);
                }
            }
            _ => {}
        }
    }
}

/// Time-out, scan and a moment.
const SILENT: u64 = 126 * SECOND;
/// After the connection closed.
const CLOSED: u64 = SECOND;
/// The end of a process may take so long.
const STOPS: u64 = 60 * SECOND;
/// A registration this young must be listed.
const FRESH: u64 = 30 * SECOND;
/// A moment behind the break of a connection.
const SOON: u64 = SECOND / 10;
/// A broker that lost its connection registers again in a second; with a moment for the way.
const AGAIN: u64 = 5 * SECOND;
/// A registration that failed is tried again within this, and a moment for the way.
const TOLD: u64 = 8 * SECOND;
/// So long after a fault a connection may still break from it.
const CALM: u64 = 30 * SECOND;

#[cfg(test)]
mod tests {
    use super::super::script::{Expect, Script, run};
    use crate::history::{How, Why};

    #[test]
    fn all_name_servers_hear_of_a_change() {
        let told = |first: f64, second: f64| {
            move |s: &mut Script| {
                s.registered("ns0", "b0", 1);
                s.registered("ns1", "b0", 2);
                s.wait(40.0);
                s.queues("b0", 4, 4);
                s.wait(first);
                s.registered("ns0", "b0", 1);
                s.wait(second);
                s.registered("ns1", "b0", 2);
            }
        };
        run("NS-3", Expect::Broken, "one of them late", told(0.1, 20.0));
        run("NS-3", Expect::Broken, "none of them soon", told(10.0, 0.1));
        run("NS-3", Expect::Broken, "one of them never", |s| {
            s.registered("ns0", "b0", 1);
            s.wait(40.0);
            s.queues("b0", 4, 4);
            s.wait(9.0);
            s.queues("b0", 5, 5);
        });
        run("NS-3", Expect::Kept, "both at once", told(0.1, 0.1));
        run("NS-3", Expect::Kept, "one after its first try failed", told(0.1, 6.0));
        run("NS-3", Expect::Kept, "one of them after it was in trouble", |s| {
            s.registered("ns1", "b0", 2);
            let fault = s.begin(&["ns1"]);
            s.wait(20.0);
            s.over(fault);
            s.wait(1.0);
            s.queues("b0", 4, 4);
            s.wait(20.0);
            s.registered("ns1", "b0", 2);
        });
        run("NS-3", Expect::Kept, "one that does not know the broker", |s| {
            s.registered("ns1", "b0", 2);
            s.removed("ns1", "b0", Why::Closed);
            s.wait(40.0);
            s.queues("b0", 4, 4);
            s.wait(20.0);
            s.registered("ns1", "b0", 3);
        });
    }

    #[test]
    fn a_silent_broker_leaves_the_answers() {
        run("NS-1", Expect::Broken, "never expired", |s: &mut Script| {
            s.registered("ns0", "b0", 1);
            s.wait(130.0);
            s.routes("ns0", &["b0"]);
        });
        run("NS-1", Expect::Broken, "its connection closed", |s| {
            s.registered("ns0", "b0", 1);
            s.peer_closed("ns0", 1);
            s.wait(1.5);
            s.routes("ns0", &["b0"]);
        });
        run("NS-1", Expect::Kept, "within the bound", |s| {
            s.registered("ns0", "b0", 1);
            s.wait(124.0);
            s.routes("ns0", &["b0"]);
            s.wait(10.0);
            s.routes("ns0", &[]);
        });
        run("NS-1", Expect::Kept, "it registered again on another connection", |s| {
            s.registered("ns0", "b0", 1);
            s.wait(100.0);
            s.registered("ns0", "b0", 2);
            s.peer_closed("ns0", 1);
            s.wait(30.0);
            s.routes("ns0", &["b0"]);
        });
    }

    #[test]
    fn answers_are_one_snapshot() {
        run("NS-3", Expect::Broken, "queues without an address", |s: &mut Script| s.route_told(1, 0));
        run("NS-3", Expect::Broken, "an older registration wins", |s| {
            s.registered_as(5);
            s.registered_as(4);
        });
        run("NS-3", Expect::Broken, "a crash of another name server excuses nothing", |s| {
            s.registered_as(5);
            s.crash("ns1", How::Process);
            s.registered_as(4);
        });
        run("NS-3", Expect::Broken, "an address without queues", |s| s.route_told(2, 3));
        run("NS-3", Expect::Kept, "addresses and queues of one and the same", |s| s.route_told(2, 2));
        run("NS-3", Expect::Kept, "the same version again", |s| {
            s.registered_as(5);
            s.registered_as(5);
            s.registered_as(6);
        });
        run("NS-3", Expect::Kept, "the name server had dropped the broker", |s| {
            s.registered_as(5);
            s.removed("ns0", "b0", Why::Closed);
            s.registered_as(4);
        });
        run("NS-3", Expect::Kept, "the broker was restarted, and counts anew", |s| {
            s.registered_as(5);
            s.crash("b0", How::Power);
            s.registered_as(4);
        });
        run("NS-3", Expect::Kept, "what the dead had sent came before it was restarted", |s| {
            s.down("b0", How::Power);
            s.registered_as(5);
            s.up("b0");
            s.registered_as(4);
        });
        run("NS-3", Expect::Broken, "it was restarted before both", |s| {
            s.crash("b0", How::Power);
            s.registered_as(5);
            s.registered_as(4);
        });
        let on_another_connection = |first: u64, second: u64| {
            move |s: &mut Script| {
                s.crash("b0", How::Disk);
                s.registered_over(first, 5);
                s.registered_over(second, 4);
            }
        };
        run("NS-3", Expect::Kept, "what the dead had sent is heard late", on_another_connection(1, 2));
        run("NS-3", Expect::Broken, "and it is not heard last", on_another_connection(2, 1));
    }

    #[test]
    fn a_broker_whose_connection_broke_is_known_again() {
        let breaks = |s: &mut Script, back_s: f64| {
            s.registered("ns0", "b0", 1);
            s.wait(20.0);
            s.removed("ns0", "b0", Why::Closed);
            s.wait(back_s);
            s.registered("ns0", "b0", 2);
            s.wait(20.0);
            s.drained(0);
        };
        run("L-1", Expect::Broken, "half a minute later", |s: &mut Script| breaks(s, 30.0));
        run("L-1", Expect::Broken, "with the break itself as the only fault", |s| {
            s.registered("ns0", "b0", 1);
            s.wait(20.0);
            let reset = s.begin(&["b0", "ns0"]);
            s.over(reset);
            s.removed("ns0", "b0", Why::Closed);
            s.wait(40.0);
            s.drained(0);
        });
        run("L-1", Expect::Kept, "at once", |s| breaks(s, 1.1));
        run("L-1", Expect::Kept, "it is cut off", |s| {
            let cut = s.begin(&["b0", "ns0"]);
            breaks(s, 30.0);
            s.over(cut);
        });
    }

    #[test]
    fn a_fresh_registration_is_listed() {
        run("NS-2", Expect::Broken, "wiped by the close of an older connection", |s: &mut Script| {
            s.registered("ns0", "b0", 1);
            s.registered("ns0", "b0", 2);
            s.peer_closed("ns0", 1);
            s.removed("ns0", "b0", Why::Closed);
            s.routes("ns0", &[]);
        });
        run("NS-2", Expect::Broken, "a late word on an older connection counted, and that closed", |s| {
            s.registered("ns0", "b0", 2);
            s.registered("ns0", "b0", 1);
            s.peer_closed("ns0", 1);
            s.removed("ns0", "b0", Why::Closed);
            s.routes("ns0", &[]);
        });
        run("NS-2", Expect::Kept, "it was dropped, and the late word was all there was", |s| {
            s.registered("ns0", "b0", 2);
            s.peer_closed("ns0", 2);
            s.removed("ns0", "b0", Why::Closed);
            s.registered("ns0", "b0", 1);
            s.peer_closed("ns0", 1);
            s.removed("ns0", "b0", Why::Closed);
            s.routes("ns0", &[]);
        });
        run("NS-2", Expect::Broken, "expired too early", |s| {
            s.registered("ns0", "b0", 1);
            s.wait(20.0);
            s.removed("ns0", "b0", Why::Expired);
            s.routes("ns0", &[]);
        });
        run("NS-2", Expect::Kept, "its own connection closed", |s| {
            s.registered("ns0", "b0", 1);
            s.peer_closed("ns0", 1);
            s.removed("ns0", "b0", Why::Closed);
            s.routes("ns0", &[]);
        });
        run("NS-2", Expect::Kept, "it said good-bye", |s| {
            s.registered("ns0", "b0", 1);
            s.removed("ns0", "b0", Why::Unregistered);
            s.routes("ns0", &[]);
        });
        run("NS-2", Expect::Kept, "the name server was restarted and knows nothing", |s| {
            s.registered("ns0", "b0", 1);
            s.crash("ns0", How::Process);
            s.routes("ns0", &[]);
        });
    }

    #[test]
    fn a_route_has_the_queues_that_its_broker_registered_last() {
        let registered = |s: &mut Script| {
            s.wait(40.0);
            s.registered_as(5);
        };
        run("NS-3", Expect::Broken, "it still has those of before", |s: &mut Script| {
            s.queues("b0", 5, 5);
            s.queues("b0", 4, 4);
            registered(s);
            s.offered("ns0", 5, 6);
        });
        run("NS-3", Expect::Broken, "the broker came back with others, while it was cut off", |s| {
            s.queues("b0", 5, 5);
            s.registered_as(5);
            let cut = s.begin(&["b0", "ns0"]);
            s.crash("b0", How::Process);
            s.queues("b0", 4, 4);
            s.over(cut);
            s.registered_as(5);
            registered(s);
            s.offered("ns0", 5, 6);
        });
        run("NS-3", Expect::Kept, "it has those", |s| {
            s.queues("b0", 4, 4);
            registered(s);
            s.offered("ns0", 4, 6);
        });
        run("NS-3", Expect::Kept, "they have just changed", |s| {
            s.queues("b0", 5, 5);
            registered(s);
            s.queues("b0", 4, 4);
            s.registered_as(6);
            s.offered("ns0", 5, 6);
        });
        run("NS-3", Expect::Kept, "the registration was held up", |s| {
            s.queues("b0", 4, 4);
            let cut = s.begin(&["b0", "ns0"]);
            s.wait(35.0);
            s.over(cut);
            s.registered_as(5);
            s.offered("ns0", 5, 6);
        });
        run("NS-3", Expect::Kept, "it was deleted meanwhile", |s| {
            s.queues("b0", 4, 4);
            registered(s);
            s.unlists();
            s.offered("ns0", 5, 6);
        });
    }
}
