//! Single requests and answers on their way: cuts what goes over a link into frames, counts requests by their code, and
//! lets something happen to the one that the plan means.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use protocol::frame::MAX_BYTES;
use protocol::{Command, Splitter};
use runtime::sync::Watermark;
use world::{Node, Passage, Verdict, World};

use super::cluster::Cluster;
use crate::moment::Happening;
use crate::plan::{Harm, Plan, What};

/// What is looked for on the links of a run.
#[derive(Clone, Default)]
pub(super) struct Requests {
    sought: Arc<Mutex<Vec<Sought>>>,
    open: Arc<Mutex<Open>>,
}

/// Codes of requests whose answers have not been seen, by connection, who asked, and the number of the request.
type Open = BTreeMap<(u32, Node, i32), i32>;

/// A request, or the answer to it.
#[derive(Clone)]
pub(super) struct Sought {
    /// The step of the plan that it belongs to.
    pub(super) step: u32,
    pub(super) from: Node,
    pub(super) to: Node,
    pub(super) code: i32,
    pub(super) answer: bool,
    /// So many of them from now on, this one included.
    pub(super) left: u64,
    pub(super) harm: Harm,
    /// Moves when it was found.
    pub(super) found: Arc<Watermark>,
}

impl Requests {
    /// Looks at the links that the plan speaks of, from their first byte on: who begins in the midst of a frame understands
    /// nothing.
    pub(super) fn watch(world: World, cluster: &Cluster, plan: &Plan) -> Self {
        let requests = Self::default();
        let mut links: Vec<(Node, Node)> = Vec::new();
        let mut add = |from: &str, to: &str| {
            let (from, to) = (cluster.node(from), cluster.node(to));
            links.extend([(from, to), (to, from)]);
        };
        for step in &plan.steps {
            if let What::Request { from, to, .. } = &step.what {
                add(from, to);
            }
            if let Some(Happening::Request { from, to, .. }) = step.on.as_ref().map(|moment| &moment.of) {
                add(from, to);
            }
        }
        links.sort_unstable();
        links.dedup();
        for (from, to) in links {
            let (requests, recorder) = (requests.clone(), cluster.shared.recorder.clone());
            let mut streams: BTreeMap<u32, Splitter> = BTreeMap::new();
            world.net().inspect(from, to, move |passage, data| {
                let stream = streams.entry(passage.connection).or_insert_with(|| Splitter::new(MAX_BYTES));
                stream.push(&data.split());
                let mut verdict = Verdict::Pass;
                while let Ok(Some(frame)) = stream.next_frame() {
                    let whole = |data: &mut BytesMut| {
                        data.extend_from_slice(&(frame.len() as u32).to_be_bytes());
                        data.extend_from_slice(&frame);
                    };
                    let Ok(command) = Command::decode(frame.clone()) else {
                        whole(data);
                        continue;
                    };
                    if !command.is_response() {
                        recorder.request(command.code, from, to);
                    }
                    match requests.found(passage, &command) {
                        None => whole(data),
                        Some(Harm::Lost) => {}
                        Some(Harm::Twice) => {
                            whole(data);
                            whole(data);
                        }
                        Some(Harm::Late { ms }) => {
                            whole(data);
                            verdict = Verdict::Delay(Duration::from_millis(ms));
                        }
                        Some(Harm::Broken) => {
                            whole(data);
                            verdict = Verdict::Reset;
                        }
                    }
                }
                verdict
            });
        }
        requests
    }

    /// Looks for one more.
    pub(super) fn seek(&self, sought: Sought) {
        held(&self.sought).push(sought);
    }

    /// Looks no more for what this step meant, or any step.
    pub(super) fn forget(&self, step: Option<u32>) {
        held(&self.sought).retain(|sought| step.is_some_and(|step| sought.step != step));
    }

    /// What happens to this request or answer, if anything.
    fn found(&self, passage: &Passage, command: &Command) -> Option<Harm> {
        let answer = command.is_response();
        let (asker, asked) = if answer { (passage.to, passage.from) } else { (passage.from, passage.to) };
        let key = (passage.connection, asker, command.opaque);
        let code = if answer {
            held(&self.open).remove(&key)?
        } else {
            held(&self.open).insert(key, command.code);
            command.code
        };
        let mut all = held(&self.sought);
        let fits = |it: &Sought| (it.from, it.to, it.code, it.answer) == (asker, asked, code, answer);
        for sought in all.iter_mut().filter(|it| fits(it)) {
            sought.left = sought.left.saturating_sub(1);
        }
        // When two mean the same one, the second strikes the next.
        let place = all.iter().position(|it| fits(it) && it.left == 0)?;
        let Sought { harm, found, .. } = all.remove(place);
        drop(all);
        world::effect(passage.from, harm.effect());
        found.advance(1);
        Some(harm)
    }
}

fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
