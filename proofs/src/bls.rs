//! BLS signatures as Filecoin uses them: keys in G1, signatures in G2.

use bls_signatures::{PrivateKey, PublicKey, Serialize, Signature, verify_messages};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::convert::array;
use crate::errors::guarded;

const SEED_LENGTH: usize = 32;

/// Derive a private key from a seed.
#[pyfunction]
pub fn bls_generate_key<'py>(py: Python<'py>, seed: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    if seed.len() < SEED_LENGTH {
        return Err(PyValueError::new_err(format!(
            "seed: expected {SEED_LENGTH} bytes or more, got {}",
            seed.len()
        )));
    }
    let key = guarded(py, || Ok(PrivateKey::new(seed).as_bytes()))?;
    Ok(PyBytes::new(py, &key))
}

/// Return the public key of a private key.
#[pyfunction]
pub fn bls_public_key<'py>(py: Python<'py>, private_key: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let key = private(private_key)?;
    let public = guarded(py, || Ok(key.public_key().as_bytes()))?;
    Ok(PyBytes::new(py, &public))
}

/// Sign a message.
#[pyfunction]
pub fn bls_sign<'py>(
    py: Python<'py>,
    private_key: &[u8],
    message: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let key = private(private_key)?;
    let signature = guarded(py, || Ok(key.sign(message).as_bytes()))?;
    Ok(PyBytes::new(py, &signature))
}

/// Check a signature.
#[pyfunction]
pub fn bls_verify(
    py: Python<'_>,
    signature: &[u8],
    message: &[u8],
    public_key: &[u8],
) -> PyResult<bool> {
    let signature: [u8; 96] = array("signature", signature)?;
    let public_key: [u8; 48] = array("public_key", public_key)?;
    guarded(py, || {
        let parsed = (
            Signature::from_bytes(&signature),
            PublicKey::from_bytes(&public_key),
        );
        Ok(match parsed {
            (Ok(signature), Ok(key)) => verify_messages(&signature, &[message], &[key]),
            _ => false,
        })
    })
}

fn private(bytes: &[u8]) -> PyResult<PrivateKey> {
    let bytes: [u8; 32] = array("private_key", bytes)?;
    PrivateKey::from_bytes(&bytes)
        .map_err(|error| PyValueError::new_err(format!("private_key: {error}")))
}
