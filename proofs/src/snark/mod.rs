//! From vanilla proofs to SNARKs with our own prover, or with the crate's.
//!
//! The crate takes vanilla proofs, circuits, parameters and prover as one call. Here its steps are taken one by one, over
//! its own circuits, so that another prover can stand in the middle.

mod post;
mod seal;
mod update;

use std::collections::HashMap;
use std::env;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use bellperson::Circuit;
use bellperson::groth16::{
    PreparedVerifyingKey, Proof, prepare_verifying_key, verify_proofs_batch,
};
use blstrs::{Bls12, Scalar as Fr};
use damocles_groth16::curve;
use damocles_groth16::parameters::Parameters;
use damocles_groth16::prover;
use rand::rngs::OsRng;
use rayon::prelude::*;
use storage_proofs_core::compound_proof::{CircuitComponent, CompoundProof};
use storage_proofs_core::parameter_cache::{self, ParameterSetMetadata};
use storage_proofs_core::proof::ProofScheme;
use storage_proofs_core::settings::SETTINGS;

pub use post::{
    Claim, generate_post, generate_post_with_vanilla, generate_single_partition,
    proves_single_partition,
};
pub use seal::{commit_phase2, commit_phase2_circuit_proofs};
pub use update::{Commitments, UpdateFiles, prove_update, prove_update_with_vanilla};

/// Names the prover: `damocles`, `portable` or `bellperson`.
const PROVER_VARIABLE: &str = "DAMOCLES_PROVER";

/// Whether our own prover is to be used. It is the default unless the build is one for GPUs, which it knows nothing of.
///
/// `portable` is our prover without the widest instructions, for comparisons and for machines that lie about theirs.
pub fn own_prover() -> Result<bool> {
    let name = env::var_os(PROVER_VARIABLE).unwrap_or_default();
    let own = match name.to_str() {
        Some("") => !cfg!(any(
            feature = "cuda",
            feature = "cuda-supraseal",
            feature = "opencl"
        )),
        Some("damocles" | "portable") => true,
        Some("bellperson") => false,
        _ => bail!(
            "{PROVER_VARIABLE}: unknown prover {}, expected damocles, portable or bellperson",
            name.display()
        ),
    };
    curve::set_wide(name != "portable");
    Ok(own)
}

/// A mapped file with its key, ready to verify.
struct Set {
    parameters: Parameters,
    key: PreparedVerifyingKey<Bls12>,
    /// What the file was when it was mapped: a file that takes its place is mapped anew.
    stamp: Stamp,
}

/// Device, inode, length and time of change.
type Stamp = (u64, u64, u64, i64, i64);

fn stamp(meta: &Metadata) -> Stamp {
    let (seconds, nanoseconds) = (meta.mtime(), meta.mtime_nsec());
    (meta.dev(), meta.ino(), meta.len(), seconds, nanoseconds)
}

/// The mapped files of this process. Mappings stay, so that a child that lives on proves from what is in memory.
static SETS: Mutex<Option<HashMap<PathBuf, Arc<Set>>>> = Mutex::new(None);

/// Map the parameters of a circuit, once for this process.
fn parameters(identifier: &str) -> Result<Arc<Set>> {
    let path = parameter_cache::parameter_cache_params_path(identifier);
    let meta = match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // The crate's own words: people search for them.
            bail!(
                "No cached parameters found for {identifier} [failure finding {}]",
                path.display()
            );
        }
        other => other.with_context(|| format!("cannot look at {}", path.display()))?,
    };
    let stamp = stamp(&meta);
    let mut sets = SETS.lock().unwrap_or_else(PoisonError::into_inner);
    let sets = sets.get_or_insert_default();
    let known = sets.get(&path);
    if let Some(set) = known.filter(|set| set.stamp == stamp) {
        return Ok(Arc::clone(set));
    }
    if SETTINGS.verify_production_params {
        // The library reads each file once in a process, and takes one of the same name for verified from then on.
        ensure!(
            known.is_none(),
            "{} was replaced since it was verified: start this process anew",
            path.display()
        );
        let name = parameter_cache::parameter_id(identifier);
        let published = parameter_cache::get_parameter_data_from_id;
        parameter_cache::verify_production_entry(&path, name, published)?;
    }
    let parameters = Parameters::open(&path)?;
    let key = prepare_verifying_key(parameters.key());
    let set = Arc::new(Set {
        parameters,
        key,
        stamp,
    });
    sets.insert(path, Arc::clone(&set));
    Ok(set)
}

/// Look for the parameters of a circuit: without them all else is in vain.
fn require<'a, Q, S, C>(public_params: &S::PublicParams) -> Result<Arc<Set>>
where
    S: ProofScheme<'a>,
    S::Proof: Sync + Send,
    S::PublicParams: ParameterSetMetadata + Sync + Send,
    S::PublicInputs: Clone + Sync,
    C: Circuit<Fr> + CircuitComponent + Send,
    Q: CompoundProof<'a, S, C>,
{
    parameters(&Q::cache_identifier(public_params))
}

/// Make the circuits of vanilla proofs, prove them and verify the proofs: partition k for the k-th vanilla proof.
///
/// Returns the proofs as they go to the chain: compressed, one behind the other. What is verified is what these bytes say.
fn circuit_proofs<'a, Q, S, C>(
    public_inputs: &S::PublicInputs,
    vanilla_proofs: Vec<S::Proof>,
    public_params: &S::PublicParams,
) -> Result<Vec<u8>>
where
    S: ProofScheme<'a>,
    S::Proof: Sync + Send,
    S::PublicParams: ParameterSetMetadata + Sync + Send,
    S::PublicInputs: Clone + Sync,
    C: Circuit<Fr> + CircuitComponent + Send,
    Q: CompoundProof<'a, S, C>,
{
    ensure!(!vanilla_proofs.is_empty(), "no vanilla proofs");
    let set = require::<Q, S, C>(public_params)?;
    let path = set.parameters.path().display();
    let inputs = (0..vanilla_proofs.len())
        .map(|k| Q::generate_public_inputs(public_inputs, public_params, Some(k)))
        .collect::<Result<Vec<_>>>()?;
    let circuits = vanilla_proofs
        .into_par_iter()
        .enumerate()
        .map(|(k, vanilla)| {
            let inner = C::ComponentPrivateInputs::default();
            Q::circuit(public_inputs, inner, &vanilla, public_params, Some(k))
        })
        .collect::<Result<Vec<_>>>()?;
    let made = prover::prove(circuits, &set.parameters, &mut OsRng)?;
    let mut bytes = Vec::with_capacity(made.len() * Proof::<Bls12>::size());
    for proof in &made {
        proof.write(&mut bytes)?;
    }
    let read = Proof::<Bls12>::read_many(&bytes, made.len());
    let valid = read.is_ok_and(|proofs| {
        let references: Vec<_> = proofs.iter().collect();
        verify_proofs_batch(&set.key, &mut OsRng, &references, &inputs).unwrap_or(false)
    });
    if !valid {
        set.parameters.check_points().with_context(|| {
            format!("the SNARK does not verify: {path} is damaged, fetch or generate it again")
        })?;
        bail!(
            "the SNARK does not verify: the vanilla proofs are wrong, or {path} is another circuit's or damaged"
        );
    }
    Ok(bytes)
}
