//! The handlers of one connection that wait: a slab of reusable places, each with its own waker.
//!
//! A new handler is put into a free place and polled there once. Most are ready, and the place is free again: no
//! allocation, no task. One that waits stays where it is and is polled again when its own waker was called, in the
//! order of the wake-ups, so that a run can be repeated.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use runtime::sync::Mutex;

/// Waiting futures of type `F`, each with what its owner wants to know when it ends.
pub(crate) struct Waiting<F, M> {
    places: Vec<Place<F, M>>,
    free: Vec<usize>,
    /// Taken from `woken`, still to be polled.
    due: VecDeque<usize>,
    woken: Arc<Woken>,
}

struct Place<F, M> {
    /// Only the places used last keep their memory while free.
    future: Option<Pin<Box<Option<F>>>>,
    meta: Option<M>,
    flag: Arc<Flag>,
    waker: Waker,
}

/// The waker of one place; it outlives the future it was made for and may then wake its successor once too often.
struct Flag {
    place: usize,
    queued: AtomicBool,
    woken: Arc<Woken>,
}

struct Woken(Mutex<State>);

struct State {
    places: VecDeque<usize>,
    owner: Option<Waker>,
}

impl<F: Future, M: Copy> Waiting<F, M> {
    pub(crate) fn new() -> Self {
        let state = State { places: VecDeque::new(), owner: None };
        Self {
            places: Vec::new(),
            free: Vec::new(),
            due: VecDeque::new(),
            woken: Arc::new(Woken(Mutex::new(state))),
        }
    }

    /// Handlers that wait.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Wake-ups go to this task from now on.
    pub(crate) fn owned_by(&mut self, owner: &Waker) {
        let mut state = self.woken.0.lock();
        if !state.owner.as_ref().is_some_and(|known| known.will_wake(owner)) {
            state.owner = Some(owner.clone());
        }
        self.due.append(&mut state.places);
    }

    /// Polls `future` once; it stays here when it has to wait.
    pub(crate) fn start(&mut self, future: F, meta: M) -> Option<F::Output> {
        let at = self.free.pop().unwrap_or_else(|| self.add());
        let place = &mut self.places[at];
        let memory = place.future.get_or_insert_with(|| Box::pin(None));
        memory.as_mut().set(Some(future));
        let running = memory.as_mut().as_pin_mut().expect("the future was put there just now");
        match running.poll(&mut Context::from_waker(&place.waker)) {
            Poll::Ready(output) => {
                self.release(at);
                Some(output)
            }
            Poll::Pending => {
                place.meta = Some(meta);
                None
            }
        }
    }

    /// Polls the next woken handler. None: nobody is woken; Some(None): it waits on.
    pub(crate) fn poll_next(&mut self) -> Option<Option<(F::Output, M)>> {
        let at = self.due.pop_front()?;
        let place = &mut self.places[at];
        // Cleared before the poll: a wake-up during it must queue the place again. A swap, as a plain store could be
        // passed by the loads of the poll: a wake-up between the two would be lost.
        place.flag.queued.swap(false, Ordering::AcqRel);
        let Some(meta) = place.meta else { return Some(None) };
        let memory = place.future.as_mut().expect("a place in use has memory");
        let running = memory.as_mut().as_pin_mut().expect("a place in use has a future");
        match running.poll(&mut Context::from_waker(&place.waker)) {
            Poll::Ready(output) => {
                self.release(at);
                Some(Some((output, meta)))
            }
            Poll::Pending => Some(None),
        }
    }

    /// Drops the handlers that `keep` refuses.
    pub(crate) fn retain(&mut self, keep: impl Fn(&M) -> bool) {
        for at in 0..self.places.len() {
            if self.places[at].meta.as_ref().is_some_and(|meta| !keep(meta)) {
                self.release(at);
            }
        }
    }

    fn release(&mut self, at: usize) {
        let place = &mut self.places[at];
        place.meta = None;
        if self.free.len() < KEPT {
            place.future.as_mut().expect("a place in use has memory").set(None);
        } else {
            place.future = None;
        }
        self.free.push(at);
    }

    fn add(&mut self) -> usize {
        let place = self.places.len();
        let flag = Arc::new(Flag { place, queued: AtomicBool::new(false), woken: self.woken.clone() });
        self.places.push(Place { future: None, meta: None, waker: flag.clone().into(), flag });
        place
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut state = self.woken.0.lock();
        state.places.push_back(self.place);
        if let Some(owner) = &state.owner {
            owner.wake_by_ref();
        }
    }
}

/// Free places that keep their memory for the next handler.
const KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use std::future::{poll_fn, ready};

    use super::*;

    type Boxed = Pin<Box<dyn Future<Output = u32> + Send>>;

    type Gate = Mutex<(bool, Option<Waker>)>;

    fn gate(value: u32) -> (Arc<Gate>, Boxed) {
        let gate = Arc::new(Gate::new((false, None)));
        let inside = gate.clone();
        let future = poll_fn(move |cx| {
            let mut state = inside.lock();
            state.1 = Some(cx.waker().clone());
            if state.0 { Poll::Ready(value) } else { Poll::Pending }
        });
        (gate, Box::pin(future))
    }

    fn open(gate: &Gate) {
        let mut state = gate.lock();
        state.0 = true;
        state.1.take().expect("it was polled once").wake();
    }

    #[test]
    fn handlers_end_in_the_order_of_their_wake_ups() {
        let mut waiting = Waiting::<Boxed, char>::new();
        assert_eq!(waiting.start(Box::pin(ready(1)), 'x'), Some(1), "a ready one never waits");
        let gates: Vec<_> = [(10, 'a'), (20, 'b'), (30, 'c')]
            .map(|(value, meta)| {
                let (gate, future) = gate(value);
                assert_eq!(waiting.start(future, meta), None);
                gate
            })
            .into();
        assert_eq!(waiting.len(), 3);
        open(&gates[2]);
        open(&gates[0]);
        waiting.owned_by(Waker::noop());
        assert_eq!(waiting.poll_next(), Some(Some((30, 'c'))));
        assert_eq!(waiting.poll_next(), Some(Some((10, 'a'))));
        assert_eq!(waiting.poll_next(), None);
        waiting.retain(|&meta| meta != 'b');
        open(&gates[1]);
        waiting.owned_by(Waker::noop());
        assert_eq!(waiting.poll_next(), Some(None), "a late wake-up finds the place empty");
        assert_eq!(waiting.len(), 0);
    }
}
