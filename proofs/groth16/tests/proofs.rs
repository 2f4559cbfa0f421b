//! Our prover and generator beside the library's crate.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use bellperson::groth16::{
    self, Parameters as TheirParameters, create_random_proof, prepare_verifying_key, verify_proof,
};
use blstrs::Bls12;
use common::Toy;
use damocles_groth16::generator::{Waste, generate};
use damocles_groth16::parameters::Parameters;
use damocles_groth16::prover::prove;
use rand::SeedableRng;
use rand::rngs::{OsRng, StdRng};

const SIZES: [(usize, usize); 4] = [(1, 0), (2, 3), (70, 1), (1500, 700)];

fn ours(bits: usize, squares: usize, waste: &Waste) -> Vec<u8> {
    let (mut bytes, mut announced) = (Vec::new(), 0);
    let announce = |count| {
        announced = count;
        Ok(())
    };
    generate(|| Toy::blank(bits, squares), waste, &mut bytes, announce).unwrap();
    assert_eq!(announced, bytes.len() as u64);
    bytes
}

fn theirs(bits: usize, squares: usize, waste: &Waste) -> TheirParameters<Bls12> {
    groth16::generate_parameters::<Bls12, _>(
        Toy::blank(bits, squares),
        waste.g1,
        waste.g2,
        waste.alpha,
        waste.beta,
        waste.gamma,
        waste.delta,
        waste.tau,
    )
    .unwrap()
}

/// A file in the system's folder for temporary ones, which goes with its owner.
struct Temporary(PathBuf);

impl Temporary {
    fn with(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("groth16-{}-{name}", std::process::id()));
        fs::write(&path, bytes).unwrap();
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The same waste makes the same bytes as the crate.
#[test]
fn the_generator_writes_the_crates_bytes() {
    for (bits, squares) in SIZES {
        let waste = Waste::random(StdRng::seed_from_u64(7));
        let mut expected = Vec::new();
        theirs(bits, squares, &waste).write(&mut expected).unwrap();
        assert!(
            expected == ours(bits, squares, &waste),
            "{bits} bits, {squares} squares"
        );
    }
}

/// With the same randomness our proof is the crate's, bit by bit.
#[test]
fn the_prover_makes_the_crates_proof() {
    for (bits, squares) in SIZES {
        let waste = Waste::random(StdRng::seed_from_u64(8));
        let file = Temporary::with(&format!("same-{bits}"), &ours(bits, squares, &waste));
        let parameters = Parameters::open(file.path()).unwrap();
        let circuit = Toy::with(bits, squares, 0xb5);
        let expected = create_random_proof::<Bls12, _, _, _>(
            circuit.clone(),
            &theirs(bits, squares, &waste),
            &mut StdRng::seed_from_u64(9),
        )
        .unwrap();
        let proofs = prove(vec![circuit], &parameters, &mut StdRng::seed_from_u64(9)).unwrap();
        assert!(proofs == [expected]);
    }
}

/// Proofs of several circuits come in their order and verify for their inputs alone; no two are the same.
#[test]
fn proofs_verify_in_their_order() {
    let waste = Waste::random(OsRng);
    let file = Temporary::with("order", &ours(40, 5, &waste));
    let parameters = Parameters::open(file.path()).unwrap();
    let key = prepare_verifying_key(parameters.key());
    let circuits = [0x17, 0x2f, 0x17].map(|pattern| Toy::with(40, 5, pattern));
    let proofs = prove(circuits.to_vec(), &parameters, &mut OsRng).unwrap();
    for (circuit, proof) in circuits.iter().zip(&proofs) {
        assert!(verify_proof(&key, proof, &circuit.inputs()).unwrap());
    }
    assert!(!verify_proof(&key, &proofs[0], &circuits[1].inputs()).unwrap());
    assert!(
        proofs[0] != proofs[2],
        "the same values, hidden by other scalars"
    );
    assert!(
        prove(Vec::<Toy>::new(), &parameters, &mut OsRng)
            .unwrap()
            .is_empty()
    );
}

/// A circuit without its values is an error, not a panic.
#[test]
fn a_circuit_without_values_is_an_error() {
    let file = Temporary::with("blank", &ours(2, 3, &Waste::random(OsRng)));
    let parameters = Parameters::open(file.path()).unwrap();
    assert!(prove(vec![Toy::blank(2, 3)], &parameters, &mut OsRng).is_err());
}

/// Parameters of another circuit are refused with their path.
#[test]
fn parameters_of_another_circuit_are_refused() {
    let file = Temporary::with("other", &ours(2, 3, &Waste::random(OsRng)));
    let parameters = Parameters::open(file.path()).unwrap();
    for circuit in [Toy::with(2, 4, 1), Toy::with(3, 3, 1), Toy::with(500, 3, 1)] {
        let error = prove(vec![circuit], &parameters, &mut OsRng)
            .unwrap_err()
            .to_string();
        assert!(error.contains("belongs to another circuit"), "{error}");
        assert!(error.contains(file.path().to_str().unwrap()), "{error}");
    }
}

/// A file that is cut anywhere, or too long, is refused when it is opened.
#[test]
fn a_file_of_the_wrong_length_is_refused() {
    let bytes = ours(2, 3, &Waste::random(OsRng));
    for length in (0..bytes.len()).step_by(37).chain([bytes.len() - 1]) {
        let file = Temporary::with("cut", &bytes[..length]);
        let error = Parameters::open(file.path())
            .err()
            .expect("refused")
            .to_string();
        assert!(error.contains(file.path().to_str().unwrap()), "{error}");
    }
    let file = Temporary::with("long", &[&bytes[..], &[0; 96]].concat());
    assert!(Parameters::open(file.path()).is_err());
    assert!(Parameters::open(Path::new("/nonexistent/file")).is_err());
}

/// A point that was overwritten with zeros is found, though infinity passes for a point of the curve elsewhere.
#[test]
fn a_point_of_zeros_is_found() {
    let mut bytes = ours(2, 3, &Waste::random(OsRng));
    let length = bytes.len();
    bytes[length - 192..].fill(0);
    let file = Temporary::with("zeros", &bytes);
    let error = Parameters::open(file.path())
        .unwrap()
        .check_points()
        .unwrap_err();
    assert!(error.to_string().contains("list b in G2"), "{error}");
}

/// A circuit that is another one the second time is an error.
#[test]
fn a_circuit_that_changes_is_an_error() {
    for sizes in [[(2, 3), (2, 4)], [(2, 3), (40, 3)], [(40, 3), (2, 3)]] {
        let calls = std::cell::Cell::new(0);
        let circuit = || {
            let (bits, squares) = sizes[calls.replace(1)];
            Toy::blank(bits, squares)
        };
        let error = generate(circuit, &Waste::random(OsRng), Vec::new(), |_| Ok(())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the circuit was another one the second time"
        );
    }
}

/// A flipped bit in any list gives a proof that does not verify, or none, and the file's check names the list.
#[test]
fn a_flipped_bit_never_makes_a_proof_that_passes_for_another() {
    let bytes = ours(70, 5, &Waste::random(OsRng));
    let whole = Temporary::with("whole", &bytes);
    let whole = Parameters::open(whole.path()).unwrap();
    let key = prepare_verifying_key(whole.key());
    whole.check_points().unwrap();
    // All values are one or large, so that each point is used.
    let circuit = Toy::with(70, 5, u64::MAX);
    let lists = [
        ("h", whole.h().len() * 96),
        ("l", whole.l().len() * 96),
        ("a", whole.a().len() * 96),
        ("b in G1", whole.b_g1().len() * 96),
        ("b in G2", whole.b_g2().len() * 192),
    ];
    let mut start = bytes.len() - lists.iter().map(|(_, size)| size + 4).sum::<usize>();
    for (name, size) in lists {
        start += 4;
        let mut damaged = bytes.clone();
        damaged[start + size - 20] ^= 4;
        start += size;
        let file = Temporary::with("flipped", &damaged);
        let parameters = Parameters::open(file.path()).unwrap();
        let error = parameters.check_points().unwrap_err().to_string();
        assert!(error.contains(&format!("list {name} ")), "{name}: {error}");
        if let Ok(proofs) = prove(vec![circuit.clone()], &parameters, &mut OsRng) {
            let valid = verify_proof(&key, &proofs[0], &circuit.inputs());
            assert!(!matches!(valid, Ok(true)), "{name}");
        }
    }
}
