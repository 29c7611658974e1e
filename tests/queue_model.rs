//! A queue compared with a model: for any operations, in one thread, it answers as a `VecDeque` with a bound would.

mod common;

use common::{pattern, watchdog_of};
use procession::{Error, JoinableQueue, PutError};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Operation {
    TryPut(usize),
    PutTimeout(usize),
    /// Puts as many messages as there is room for, so that it does not wait.
    PutMany(Vec<usize>),
    TryGet,
    GetTimeout,
    /// Gets only if there is a message, so that it does not wait.
    GetMany(usize),
    TaskDone,
    /// Goes on with a clone, and drops the old handle.
    Clone,
    Shutdown,
    ShutdownNow,
}

/// Generates the size of a message: mostly small, sometimes about the largest size that is stored in the queue itself,
/// sometimes large.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        8 => 0..40usize,
        2 => 8_150..8_230usize,
        1 => 8_231..70_000usize,
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    prop_oneof![
        12 => size().prop_map(TryPut),
        4 => size().prop_map(PutTimeout),
        6 => prop::collection::vec(size(), 0..20).prop_map(PutMany),
        12 => Just(TryGet),
        4 => Just(GetTimeout),
        6 => (0..20usize).prop_map(GetMany),
        8 => Just(TaskDone),
        2 => Just(Clone),
        1 => prop_oneof![Just(Shutdown), Just(ShutdownNow)],
    ]
}

#[derive(Default)]
struct Model {
    messages: VecDeque<Vec<u8>>,
    capacity: Option<usize>,
    unfinished: usize,
    shut_down: bool,
}

impl Model {
    fn room(&self) -> usize {
        self.capacity
            .map_or(usize::MAX, |capacity| capacity - self.messages.len())
    }

    /// The reason why a message was not put.
    fn refusal(&self) -> Option<Error> {
        if self.shut_down {
            Some(Error::ShutDown)
        } else if self.room() == 0 {
            Some(Error::Full)
        } else {
            None
        }
    }

    fn put(&mut self, message: Vec<u8>) {
        self.messages.push_back(message);
        self.unfinished += 1;
    }

    fn get(&mut self) -> Result<Vec<u8>, Error> {
        let none = if self.shut_down {
            Error::ShutDown
        } else {
            Error::Empty
        };
        self.messages.pop_front().ok_or(none)
    }
}

/// Translates the answer of a call that may wait, whose refusal has another name.
fn waiting(error: Error) -> Error {
    match error {
        Error::Full | Error::Empty => Error::Timeout,
        other => other,
    }
}

fn reason<T>(answer: Result<(), PutError<T>>) -> Option<(Error, T)> {
    answer.err().map(|error| (error.error(), error.into_inner()))
}

fn run(capacity: Option<usize>, operations: Vec<Operation>) -> Result<(), TestCaseError> {
    let mut queue = match capacity {
        Some(capacity) => JoinableQueue::bounded(capacity),
        None => JoinableQueue::unbounded(),
    }
    .unwrap();
    let mut model = Model {
        capacity,
        ..Model::default()
    };
    let mut seed = 0;
    let mut message = |len: usize| {
        seed += 1;
        pattern(seed, len)
    };
    for operation in operations {
        match operation {
            Operation::TryPut(len) => {
                let new = message(len);
                let expected = model.refusal().map(|error| (error, new.clone()));
                prop_assert!(reason(queue.try_put(new.clone())) == expected);
                if expected.is_none() {
                    model.put(new);
                }
            }
            Operation::PutTimeout(len) => {
                let new = message(len);
                let expected = model.refusal().map(|error| (waiting(error), new.clone()));
                prop_assert!(reason(queue.put_timeout(new.clone(), Duration::ZERO)) == expected);
                if expected.is_none() {
                    model.put(new);
                }
            }
            Operation::PutMany(lens) => {
                let room = if model.shut_down { usize::MAX } else { model.room() };
                let new: Vec<_> = lens.into_iter().take(room).map(&mut message).collect();
                match queue.put_many(new.clone()) {
                    Ok(count) => {
                        prop_assert!(count == new.len() && (count == 0 || !model.shut_down));
                        new.into_iter().for_each(|new| model.put(new));
                    }
                    Err(error) => {
                        prop_assert!(model.shut_down && error.error() == Error::ShutDown);
                        prop_assert!(error.into_inner() == new);
                    }
                }
            }
            Operation::TryGet => prop_assert!(queue.try_get() == model.get()),
            Operation::GetTimeout => {
                prop_assert!(queue.get_timeout(Duration::ZERO) == model.get().map_err(waiting));
            }
            Operation::GetMany(most) => {
                if most > 0 && model.messages.is_empty() {
                    continue;
                }
                let got = queue.get_many(most).unwrap();
                // All messages in the queue, up to the number that was asked for.
                prop_assert_eq!(got.len(), most.min(model.messages.len()));
                for message in got {
                    prop_assert!(Ok(message) == model.get());
                }
            }
            Operation::TaskDone => {
                let expected = model.unfinished.checked_sub(1);
                let expected = expected
                    .map(|left| model.unfinished = left)
                    .ok_or(Error::TooManyTasksDone);
                prop_assert_eq!(queue.task_done(), expected);
                // More tasks may be marked as done than were taken; from then on the messages in the queue count.
            }
            Operation::Clone => queue = queue.clone(),
            Operation::Shutdown => {
                queue.shutdown();
                model.shut_down = true;
            }
            Operation::ShutdownNow => {
                queue.shutdown_now();
                model.shut_down = true;
                model.unfinished = model.unfinished.saturating_sub(model.messages.len());
                model.messages.clear();
            }
        }
        prop_assert_eq!(queue.len(), model.messages.len());
        prop_assert_eq!(queue.is_empty(), model.messages.is_empty());
        prop_assert_eq!(queue.is_full(), model.room() == 0);
        prop_assert_eq!(queue.capacity(), capacity);
        prop_assert_eq!(queue.is_shut_down(), model.shut_down);
        prop_assert_eq!(queue.unfinished(), model.unfinished);
        let all_done = queue.join_timeout(Duration::ZERO);
        prop_assert_eq!(all_done.is_ok(), model.unfinished == 0);
    }
    queue.shutdown();
    prop_assert!(queue.iter().eq(model.messages));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        // A failure can be repeated with its seed, which is printed; no files are written beside the tests.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_queue_answers_as_its_model(
        capacity in prop_oneof![Just(None), (1..12usize).prop_map(Some), Just(Some(1_000))],
        operations in prop::collection::vec(operation(), 1..300),
    ) {
        let _watchdog = watchdog_of(300);
        run(capacity, operations)?;
    }
}
