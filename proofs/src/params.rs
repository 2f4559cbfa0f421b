//! Groth16 parameters: their names, where they are kept, and making a set for a test network.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bellperson::{Circuit, groth16};
use blstrs::{Bls12, Scalar as Fr};
use damocles_groth16::generator::{self, Waste};
use filecoin_proofs::TreeRHasher;
use filecoin_proofs::constants::{
    DefaultPieceHasher, SectorShape2KiB, SectorShape8MiB, SectorShape32GiB, SectorShape64GiB,
    SectorShape512MiB,
};
use filecoin_proofs::parameters::{
    public_params, window_post_public_params, winning_post_public_params,
};
use filecoin_proofs_api::{MerkleTreeTrait, RegisteredPoStProof, RegisteredSealProof};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rand::rngs::OsRng;
use storage_proofs_core::compound_proof::CompoundProof;
use storage_proofs_core::parameter_cache::{self, CacheableParameters, ParameterSetMetadata};
use storage_proofs_porep::stacked::{StackedCompound, StackedDrg};
use storage_proofs_post::fallback::{FallbackPoSt, FallbackPoStCircuit, FallbackPoStCompound};
use storage_proofs_update::{
    EmptySectorUpdate, EmptySectorUpdateCircuit, EmptySectorUpdateCompound,
    PublicParams as UpdatePublicParams,
};

use crate::errors::guarded;

/// Sectors of this size and above are sealed on real networks only, with published parameters.
const SMALLEST_PRODUCTION_SIZE: u64 = 32 << 30;

/// Proofs that a home-made SRS can aggregate; the crate reads no more than twice as many powers from the file.
const SRS_PROOFS: usize = 1 << 14;

/// One set of Groth16 parameters: the files of one circuit for one sector size.
#[pyclass(frozen, get_all, eq, hash, module = "damocles_proofs")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ParamSet {
    kind: String,
    sector_size: u64,
    identifier: String,
    params: String,
    vk: String,
    meta: String,
}

#[pymethods]
impl ParamSet {
    fn __repr__(&self) -> String {
        format!(
            "ParamSet(kind='{}', sector_size={}, identifier='{}')",
            self.kind, self.sector_size, self.identifier
        )
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Porep,
    WindowPost,
    WinningPost,
    Update,
}

impl Kind {
    fn parse(name: &str) -> PyResult<Self> {
        match name {
            "porep" => Ok(Self::Porep),
            "wdpost" => Ok(Self::WindowPost),
            "winning" => Ok(Self::WinningPost),
            "update" => Ok(Self::Update),
            _ => Err(PyValueError::new_err(format!(
                "kind: unknown kind `{name}`, expected one of `porep`, `wdpost`, `winning`, `update`"
            ))),
        }
    }
}

/// The proof types whose circuits have this sector size.
#[derive(Clone, Copy)]
struct Size {
    seal: RegisteredSealProof,
    window: RegisteredPoStProof,
    winning: RegisteredPoStProof,
}

impl Size {
    fn parse(bytes: u64) -> PyResult<Self> {
        use RegisteredPoStProof as Post;
        use RegisteredSealProof as Seal;
        let (seal, window, winning) = match bytes {
            0x800 => (
                Seal::StackedDrg2KiBV1_1,
                Post::StackedDrgWindow2KiBV1_2,
                Post::StackedDrgWinning2KiBV1,
            ),
            0x80_0000 => (
                Seal::StackedDrg8MiBV1_1,
                Post::StackedDrgWindow8MiBV1_2,
                Post::StackedDrgWinning8MiBV1,
            ),
            0x2000_0000 => (
                Seal::StackedDrg512MiBV1_1,
                Post::StackedDrgWindow512MiBV1_2,
                Post::StackedDrgWinning512MiBV1,
            ),
            0x8_0000_0000 => (
                Seal::StackedDrg32GiBV1_1,
                Post::StackedDrgWindow32GiBV1_2,
                Post::StackedDrgWinning32GiBV1,
            ),
            0x10_0000_0000 => (
                Seal::StackedDrg64GiBV1_1,
                Post::StackedDrgWindow64GiBV1_2,
                Post::StackedDrgWinning64GiBV1,
            ),
            _ => {
                return Err(PyValueError::new_err(format!(
                    "sector_size: {bytes} is no sector size, expected one of 2048 (2KiB), 8388608 (8MiB), \
                     536870912 (512MiB), 34359738368 (32GiB), 68719476736 (64GiB)"
                )));
            }
        };
        Ok(Self {
            seal,
            window,
            winning,
        })
    }

    /// Do a job with the Merkle tree shape of this sector size.
    fn with_shape<J: Job>(self, kind: Kind, job: J) -> Result<J::Output> {
        use RegisteredSealProof as Seal;
        match self.seal {
            Seal::StackedDrg2KiBV1_1 => with_circuit::<SectorShape2KiB, J>(self, kind, job),
            Seal::StackedDrg8MiBV1_1 => with_circuit::<SectorShape8MiB, J>(self, kind, job),
            Seal::StackedDrg512MiBV1_1 => with_circuit::<SectorShape512MiB, J>(self, kind, job),
            Seal::StackedDrg32GiBV1_1 => with_circuit::<SectorShape32GiB, J>(self, kind, job),
            _ => with_circuit::<SectorShape64GiB, J>(self, kind, job),
        }
    }
}

/// What is done with one circuit: naming its files, or making them.
trait Job {
    type Output;

    fn run<Q, C, P>(self, blank: impl Fn() -> C, public: &P) -> Result<Self::Output>
    where
        C: Circuit<Fr> + Send,
        P: ParameterSetMetadata,
        Q: CacheableParameters<C, P>;
}

fn with_circuit<Tree, J>(size: Size, kind: Kind, job: J) -> Result<J::Output>
where
    Tree: 'static + MerkleTreeTrait<Hasher = TreeRHasher>,
    J: Job,
{
    type Porep<Tree> = StackedCompound<Tree, DefaultPieceHasher>;
    type Drg<'a, Tree> = StackedDrg<'a, Tree, DefaultPieceHasher>;
    type Post<Tree> = FallbackPoStCompound<Tree>;
    type Update<Tree> = EmptySectorUpdateCompound<Tree>;

    match kind {
        Kind::Porep => {
            let public = public_params::<Tree>(&size.seal.as_v1_config())?;
            let blank = || <Porep<Tree> as CompoundProof<Drg<'_, Tree>, _>>::blank_circuit(&public);
            job.run::<Porep<Tree>, _, _>(blank, &public)
        }
        Kind::WindowPost | Kind::WinningPost => {
            let public = if matches!(kind, Kind::WindowPost) {
                window_post_public_params::<Tree>(&size.window.as_v1_config())?
            } else {
                winning_post_public_params::<Tree>(&size.winning.as_v1_config())?
            };
            let blank = || -> FallbackPoStCircuit<Tree> {
                <Post<Tree> as CompoundProof<FallbackPoSt<'_, Tree>, _>>::blank_circuit(&public)
            };
            job.run::<Post<Tree>, _, _>(blank, &public)
        }
        Kind::Update => {
            let public = UpdatePublicParams::from_sector_size(u64::from(size.seal.sector_size()));
            let blank = || -> EmptySectorUpdateCircuit<Tree> {
                <Update<Tree> as CompoundProof<EmptySectorUpdate<Tree>, _>>::blank_circuit(&public)
            };
            job.run::<Update<Tree>, _, _>(blank, &public)
        }
    }
}

struct Name;

impl Job for Name {
    type Output = String;

    fn run<Q, C, P>(self, _blank: impl Fn() -> C, public: &P) -> Result<String>
    where
        C: Circuit<Fr> + Send,
        P: ParameterSetMetadata,
        Q: CacheableParameters<C, P>,
    {
        Ok(Q::cache_identifier(public))
    }
}

/// Make the files, with our own generator or with the crate's.
struct Generate {
    own: bool,
}

impl Job for Generate {
    type Output = String;

    fn run<Q, C, P>(self, blank: impl Fn() -> C, public: &P) -> Result<String>
    where
        C: Circuit<Fr> + Send,
        P: ParameterSetMetadata,
        Q: CacheableParameters<C, P>,
    {
        let identifier = Q::cache_identifier(public);
        let path = parameter_cache::parameter_cache_params_path(&identifier);
        write_once(&path, |file| {
            // The key of a set that was here before would belong to no parameters any more.
            let key = parameter_cache::parameter_cache_verifying_key_path(&identifier);
            match fs::remove_file(&key) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", key.display()));
                }
                _ => {}
            }
            if self.own {
                // The length comes first: whoever looks at the file sees how much of it is there.
                let announce = |bytes| Ok(file.set_len(bytes)?);
                return generator::generate(&blank, &Waste::random(OsRng), file, announce);
            }
            let params = groth16::generate_random_parameters::<Bls12, _, _>(blank(), &mut OsRng)?;
            buffered(file, |writer| params.write(writer))
        })?;
        // Both small files follow from the large one and from the circuit; the crate writes them if they are missing.
        Q::get_verifying_key::<OsRng>(None, blank(), public)?;
        Q::get_param_metadata(blank(), public)?;
        Ok(identifier)
    }
}

/// Write a file that appears under its name only when it is whole.
///
/// An existing file stays. Processes that want the same file wait for each other; the loser finds the winner's file.
/// A killed process leaves a `.part` file behind, which the next one overwrites.
fn write_once(path: &Path, fill: impl FnOnce(&File) -> Result<()>) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&part)
        .with_context(|| format!("cannot write {}", part.display()))?;
    file.lock()
        .with_context(|| format!("cannot lock {}", part.display()))?;
    if path.exists() {
        // Either the file was there from the start, or another process has just renamed its own `.part` to it.
        let _ = fs::remove_file(&part);
        return Ok(());
    }
    file.set_len(0)?;
    fill(&file)?;
    file.sync_all()?;
    fs::rename(&part, path).with_context(|| format!("cannot rename {}", part.display()))
}

/// Let the crate write its small pieces into a buffer.
fn buffered(file: &File, fill: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> Result<()> {
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    fill(&mut writer)?;
    Ok(writer.flush()?)
}

fn param_set(kind: &str, sector_size: u64, identifier: String) -> ParamSet {
    ParamSet {
        kind: kind.to_owned(),
        sector_size,
        params: parameter_cache::parameter_id(&identifier),
        vk: parameter_cache::verifying_key_id(&identifier),
        meta: parameter_cache::metadata_id(&identifier),
        identifier,
    }
}

/// Return the crate's `parameters.json`: name of each published file to its CID, digest and sector size.
#[pyfunction]
pub fn parameters_manifest() -> &'static str {
    parameter_cache::PARAMETERS_DATA
}

/// Return the crate's `srs-inner-product.json`: the same for the file that aggregation needs.
#[pyfunction]
pub fn srs_manifest() -> &'static str {
    parameter_cache::SRS_PARAMETERS_DATA
}

/// Return the folder that parameters are read from and written to.
#[pyfunction]
pub fn parameter_cache_dir(py: Python<'_>) -> PyResult<String> {
    guarded(py, || Ok(parameter_cache::parameter_cache_dir_name()))
}

/// Return the base name of the file that aggregation needs.
#[pyfunction]
pub fn srs_name() -> String {
    format!(
        "v{}-{}.{}",
        parameter_cache::VERSION,
        parameter_cache::SRS_SHARED_KEY_NAME,
        parameter_cache::SRS_KEY_EXT
    )
}

/// Name the files of one circuit for one sector size.
#[pyfunction]
pub fn params_for(py: Python<'_>, kind: &str, sector_size: u64) -> PyResult<ParamSet> {
    let (circuit, size) = (Kind::parse(kind)?, Size::parse(sector_size)?);
    let identifier = guarded(py, || size.with_shape(circuit, Name))?;
    Ok(param_set(kind, sector_size, identifier))
}

/// Make the files of one circuit for a test network.
#[pyfunction]
#[pyo3(signature = (kind, sector_size, *, generator = "damocles"))]
pub fn generate_params(
    py: Python<'_>,
    kind: &str,
    sector_size: u64,
    generator: &str,
) -> PyResult<ParamSet> {
    let own = match generator {
        "damocles" => true,
        "bellperson" => false,
        _ => {
            return Err(PyValueError::new_err(format!(
                "generator: unknown generator `{generator}`, expected `damocles` or `bellperson`"
            )));
        }
    };
    let (circuit, size) = (Kind::parse(kind)?, Size::parse(sector_size)?);
    if sector_size >= SMALLEST_PRODUCTION_SIZE {
        return Err(PyValueError::new_err(format!(
            "sector_size: home-made parameters prove nothing on a real network, and sectors of {sector_size} bytes \
             are sealed nowhere else; fetch the published files"
        )));
    }
    let identifier = guarded(py, || size.with_shape(circuit, Generate { own }))?;
    Ok(param_set(kind, sector_size, identifier))
}

/// Make the file that aggregation needs, for a test network.
#[pyfunction]
pub fn generate_srs(py: Python<'_>) -> PyResult<String> {
    let name = srs_name();
    guarded(py, || {
        write_once(
            &parameter_cache::parameter_cache_dir().join(&name),
            |file| {
                let srs = groth16::aggregate::setup_fake_srs::<Bls12, _>(&mut OsRng, SRS_PROOFS);
                buffered(file, |writer| srs.write(writer))
            },
        )
    })?;
    Ok(name)
}
