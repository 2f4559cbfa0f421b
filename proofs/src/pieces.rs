//! Pieces: their commitments, and how they are laid into a staged file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{BorrowedFd, RawFd};
use std::path::PathBuf;

use anyhow::Context;
use filecoin_proofs::pieces::zero_padding;
use filecoin_proofs_api::{
    PieceInfo as ApiPieceInfo, RegisteredSealProof, UnpaddedBytesAmount, seal,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::convert::{array, proof, short};
use crate::errors::guarded;
use crate::files;

/// A piece in a sector: its commitment, and its size in unpadded bytes.
#[pyclass(frozen, eq, hash, from_py_object, module = "damocles_proofs")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PieceInfo {
    commitment: [u8; 32],
    #[pyo3(get)]
    size: u64,
}

#[pymethods]
impl PieceInfo {
    #[new]
    fn new(commitment: &[u8], size: u64) -> PyResult<Self> {
        Ok(Self {
            commitment: array("commitment", commitment)?,
            size,
        })
    }

    #[getter]
    fn commitment(&self) -> &[u8] {
        &self.commitment
    }

    fn __repr__(&self) -> String {
        format!(
            "PieceInfo(commitment={}, size={})",
            short(&self.commitment),
            self.size
        )
    }
}

impl From<ApiPieceInfo> for PieceInfo {
    fn from(info: ApiPieceInfo) -> Self {
        Self {
            commitment: info.commitment,
            size: info.size.into(),
        }
    }
}

/// Pieces as the library takes them.
pub fn api_pieces(pieces: &[PieceInfo]) -> Vec<ApiPieceInfo> {
    pieces
        .iter()
        .map(|piece| ApiPieceInfo {
            commitment: piece.commitment,
            size: UnpaddedBytesAmount(piece.size),
        })
        .collect()
}

/// The payload of a piece, then zeros; a source that ends early is an error and not a smaller piece.
struct PieceSource {
    payload: Option<File>,
    payload_left: u64,
    zeros_left: u64,
}

impl PieceSource {
    fn open(source_fd: Option<RawFd>, payload_size: u64, piece_size: u64) -> PyResult<Self> {
        let Some(zeros) = piece_size.checked_sub(payload_size) else {
            return Err(PyValueError::new_err(format!(
                "payload_size: {payload_size} bytes do not fit into a piece of {piece_size}"
            )));
        };
        let payload = source_fd.map(duplicate).transpose()?;
        if payload.is_none() && payload_size > 0 {
            return Err(PyValueError::new_err(
                "payload_size: must be 0 without a source",
            ));
        }
        Ok(Self {
            payload,
            payload_left: payload_size,
            zeros_left: zeros,
        })
    }
}

/// The descriptor stays the caller's; ours shares its position and is closed when the call ends.
fn duplicate(fd: RawFd) -> PyResult<File> {
    if fd < 0 {
        return Err(PyValueError::new_err(format!(
            "source_fd: {fd} is not a descriptor"
        )));
    }
    // SAFETY: the descriptor is only copied; a closed one makes the copy fail with EBADF.
    let copy = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned();
    copy.map(File::from)
        .map_err(|error| PyValueError::new_err(format!("source_fd: {fd}: {error}")))
}

impl Read for PieceSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if let Some(file) = self.payload.as_mut().filter(|_| self.payload_left > 0) {
            let count = file.take(self.payload_left).read(buffer)?;
            if count == 0 {
                let left = self.payload_left;
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("the source ends {left} bytes before payload_size"),
                ));
            }
            self.payload_left -= count as u64;
            return Ok(count);
        }
        let count = io::repeat(0).take(self.zeros_left).read(buffer)?;
        self.zeros_left -= count as u64;
        Ok(count)
    }
}

/// Append a piece to the staged file.
#[pyfunction]
#[pyo3(signature = (registered_proof, source_fd, payload_size, piece_size, staged_path))]
pub fn add_piece(
    py: Python<'_>,
    registered_proof: &str,
    source_fd: Option<RawFd>,
    payload_size: u64,
    piece_size: u64,
    staged_path: PathBuf,
) -> PyResult<PieceInfo> {
    let registered_proof: RegisteredSealProof = proof("registered_proof", registered_proof)?;
    let source = PieceSource::open(source_fd, payload_size, piece_size)?;
    guarded(py, || {
        files::parent(&staged_path)?;
        let mut staged = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&staged_path)
            .map_err(|error| files::explain(&staged_path, &error))?;
        let start = staged.seek(SeekFrom::End(0))?;
        let size = UnpaddedBytesAmount(piece_size);
        match seal::write_and_preprocess(registered_proof, source, &staged, size) {
            Ok((info, _written)) => Ok(info.into()),
            Err(error) => {
                // Half a piece would shift all that follow.
                staged
                    .set_len(start)
                    .with_context(|| format!("cannot cut back {}", staged_path.display()))?;
                Err(error)
            }
        }
    })
}

/// Compute the commitment of a piece without writing it.
#[pyfunction]
#[pyo3(signature = (registered_proof, source_fd, payload_size, piece_size))]
pub fn generate_piece_commitment(
    py: Python<'_>,
    registered_proof: &str,
    source_fd: Option<RawFd>,
    payload_size: u64,
    piece_size: u64,
) -> PyResult<PieceInfo> {
    let registered_proof: RegisteredSealProof = proof("registered_proof", registered_proof)?;
    let source = PieceSource::open(source_fd, payload_size, piece_size)?;
    guarded(py, || {
        let size = UnpaddedBytesAmount(piece_size);
        Ok(seal::generate_piece_commitment(registered_proof, source, size)?.into())
    })
}

/// Return the piece of so many zeros.
#[pyfunction]
pub fn zero_piece(py: Python<'_>, piece_size: u64) -> PyResult<PieceInfo> {
    if piece_size == 0 || !piece_size.is_multiple_of(127) || !(piece_size / 127).is_power_of_two() {
        return Err(PyValueError::new_err(format!(
            "piece_size: {piece_size} is not 127 times a power of two"
        )));
    }
    guarded(py, || {
        Ok(zero_padding(UnpaddedBytesAmount(piece_size))?.into())
    })
}

/// Compute `CommD` of a sector from its pieces.
#[pyfunction]
pub fn compute_comm_d<'py>(
    py: Python<'py>,
    registered_proof: &str,
    pieces: Vec<PieceInfo>,
) -> PyResult<Bound<'py, pyo3::types::PyBytes>> {
    let registered_proof: RegisteredSealProof = proof("registered_proof", registered_proof)?;
    let comm_d = guarded(py, || comm_d(registered_proof, &pieces))?;
    Ok(pyo3::types::PyBytes::new(py, &comm_d))
}

/// `CommD` of pieces. A sector without pieces is all zeros; the library would hash every one of them.
fn comm_d(registered_proof: RegisteredSealProof, pieces: &[PieceInfo]) -> anyhow::Result<[u8; 32]> {
    if pieces.is_empty() {
        return Ok(zero_padding(registered_proof.sector_size().into())?.commitment);
    }
    seal::compute_comm_d(registered_proof, &api_pieces(pieces))
}
