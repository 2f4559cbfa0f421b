//! Arguments on their way in, and records on their way in and out.

use std::fmt::Debug;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde::de::value::{Error as NameError, StrDeserializer};

/// A proof type by its name; an unknown name is a `ValueError` that lists the valid ones.
pub fn proof<T: DeserializeOwned>(argument: &str, name: &str) -> PyResult<T> {
    T::deserialize(StrDeserializer::<NameError>::new(name))
        .map_err(|error| PyValueError::new_err(format!("{argument}: {error}")))
}

/// The name of a proof type.
pub fn name<T: Debug>(proof: &T) -> String {
    format!("{proof:?}")
}

/// Exactly `N` bytes; another length is a `ValueError` that names the argument.
pub fn array<const N: usize>(argument: &str, bytes: &[u8]) -> PyResult<[u8; N]> {
    bytes.try_into().map_err(|_| {
        PyValueError::new_err(format!(
            "{argument}: expected {N} bytes, got {}",
            bytes.len()
        ))
    })
}

/// A list of such arrays.
pub fn arrays<const N: usize>(argument: &str, list: &[Vec<u8>]) -> PyResult<Vec<[u8; N]>> {
    list.iter()
        .enumerate()
        .map(|(index, bytes)| array(&format!("{argument}[{index}]"), bytes))
        .collect()
}

/// Read a struct of filecoin-proofs-api from the JSON that its own serde writes.
pub fn from_json<T: DeserializeOwned + Send>(py: Python<'_>, data: &[u8]) -> PyResult<T> {
    py.detach(|| serde_json::from_slice(data))
        .map_err(|error| PyValueError::new_err(format!("data: {error}")))
}

/// Write such a struct.
pub fn to_json<'py, T: Serialize + Sync>(
    py: Python<'py>,
    value: &T,
) -> PyResult<Bound<'py, PyBytes>> {
    let json = py
        .detach(|| serde_json::to_vec(value))
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(PyBytes::new(py, &json))
}

/// The first bytes of a commitment, for a `repr`.
pub fn short(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(18);
    for byte in bytes.iter().take(4) {
        let _ = write!(text, "{byte:02x}");
    }
    text.push('…');
    text
}
