//! Errors on their way to Python, and the guard that every long call runs in.
//!
//! The classes live in `damocles_proofs/_errors.py`; this module picks one and fills it in.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use filecoin_proofs_api::StorageProofsError;
use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

const ERRORS_MODULE: &str = "damocles_proofs._errors";

/// A file or folder that a call needs and cannot use.
#[derive(Debug)]
pub struct FileProblem {
    pub path: PathBuf,
    pub problem: String,
}

impl FileProblem {
    pub fn new(path: &Path, problem: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.problem)
    }
}

impl std::error::Error for FileProblem {}

/// Sectors whose files cannot be opened, with one line on each.
#[derive(Debug, Default)]
pub struct Faults {
    pub sectors: Vec<u64>,
    pub problems: Vec<String>,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty sectors {:?}", self.sectors)
    }
}

impl std::error::Error for Faults {}

/// One panic, of any thread.
#[derive(Clone)]
struct Panic {
    thread: ThreadId,
    message: String,
    place: Option<String>,
}

/// The last panics, and how many there have been.
struct Panics {
    total: u64,
    last: VecDeque<Panic>,
}

/// A call needs its own panic, and those of the library's threads that led to it: "Worker Pool was poisoned" says little.
const KEPT_PANICS: usize = 32;

static PANICS: Mutex<Panics> = Mutex::new(Panics {
    total: 0,
    last: VecDeque::new(),
});

fn panics() -> MutexGuard<'static, Panics> {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keep each panic, then do what the previous hook did.
///
/// Called once, when the module is imported. The hook is never swapped again, so calls on several threads cannot
/// disturb each other.
pub fn install_panic_hook() {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let mut kept = panics();
        kept.total += 1;
        if kept.last.len() == KEPT_PANICS {
            kept.last.pop_front();
        }
        kept.last.push_back(Panic {
            thread: thread::current().id(),
            message: message_of(info.payload()),
            place: info.location().map(|place| in_crate(&place.to_string())),
        });
        drop(kept);
        previous(info);
    }));
}

/// A place without the folder where the crates of this build were unpacked.
fn in_crate(place: &str) -> String {
    let in_registry = place.split_once("/registry/src/");
    let in_crate = in_registry.and_then(|(_, rest)| rest.split_once('/'));
    in_crate.map_or(place, |(_, rest)| rest).to_owned()
}

/// Run a call without the interpreter lock; a failure or a panic becomes a Python exception.
pub fn guarded<T, F>(py: Python<'_>, call: F) -> PyResult<T>
where
    T: Send,
    F: FnOnce() -> anyhow::Result<T> + Send,
{
    let outcome = py.detach(|| {
        let before = panics().total;
        panic::catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
            let message = message_of(payload.as_ref());
            let (place, earlier) = panics_since(before);
            (message, place, earlier)
        })
    });
    match outcome {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(to_python(py, &error)),
        Err((message, place, earlier)) => match PyTuple::new(py, earlier) {
            Ok(earlier) => Err(raise(py, "PanicError", (message, place, earlier))),
            Err(error) => Err(error),
        },
    }
}

/// Where this thread panicked last, and what other threads said in panic since the call began.
fn panics_since(before: u64) -> (Option<String>, Vec<String>) {
    let kept = panics();
    let count = usize::try_from(kept.total - before).map_or(KEPT_PANICS, |n| n.min(KEPT_PANICS));
    let recent = kept.last.range(kept.last.len().saturating_sub(count)..);
    let this = thread::current().id();
    let mut place = None;
    let mut earlier: Vec<String> = Vec::new();
    for panic in recent {
        if panic.thread == this {
            place.clone_from(&panic.place);
        } else if !earlier.contains(&panic.message) {
            earlier.push(panic.message.clone());
        }
    }
    (place, earlier)
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}

fn to_python(py: Python<'_>, error: &anyhow::Error) -> PyErr {
    if let Some(file) = error.downcast_ref::<FileProblem>() {
        let path = file.path.to_string_lossy().into_owned();
        return raise(py, "FileError", (path, file.problem.clone()));
    }
    if let Some(faults) = error.downcast_ref::<Faults>() {
        return faulty(py, &faults.sectors, &faults.problems);
    }
    if let Some(StorageProofsError::FaultySectors(sectors)) = error.downcast_ref() {
        let numbers: Vec<u64> = sectors.iter().map(|id| u64::from(*id)).collect();
        return faulty(py, &numbers, &[]);
    }
    raise(py, "ProofsError", (story(error),))
}

fn faulty(py: Python<'_>, sectors: &[u64], problems: &[String]) -> PyErr {
    match (PyTuple::new(py, sectors), PyTuple::new(py, problems)) {
        (Ok(sectors), Ok(problems)) => raise(py, "FaultySectorsError", (sectors, problems)),
        (Err(error), _) | (_, Err(error)) => error,
    }
}

/// The whole chain of causes, the outermost first.
///
/// Some errors of the proofs crates repeat their cause in their own text; such a cause is not said twice.
fn story(error: &anyhow::Error) -> String {
    let mut told: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if !told.last().is_some_and(|last| last.contains(&text)) {
            told.push(text);
        }
    }
    told.join(": ")
}

fn raise<'py, A>(py: Python<'py>, class: &str, arguments: A) -> PyErr
where
    A: pyo3::call::PyCallArgs<'py>,
{
    py.import(ERRORS_MODULE)
        .and_then(|module| module.getattr(class))
        .and_then(|class| class.call1(arguments))
        .map_or_else(
            |error| {
                PyImportError::new_err(format!("{ERRORS_MODULE}.{class} cannot be made: {error}"))
            },
            PyErr::from_value,
        )
}
