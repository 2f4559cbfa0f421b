//! `damocles_proofs._native`: filecoin-proofs-api for Python.
//!
//! Each function converts its arguments, lets go of the interpreter, makes one call, and converts the result. What a
//! call means is said in `damocles_proofs/_native.pyi`, where its readers are.

#![allow(
    clippy::needless_pass_by_value,
    clippy::too_many_arguments,
    reason = "arguments are what Python passes: owned values, as many as the library's own function takes"
)]

mod bls;
mod convert;
mod errors;
mod files;
mod params;
mod parents;
mod pieces;
mod post;
mod records;
mod seal;
mod snark;
mod update;
mod verify;

#[pyo3::pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::bls::{bls_generate_key, bls_public_key, bls_sign, bls_verify};
    #[pymodule_export]
    use crate::params::{
        ParamSet, generate_params, generate_srs, parameter_cache_dir, parameters_manifest,
        params_for, srs_manifest, srs_name,
    };
    #[pymodule_export]
    use crate::pieces::{
        PieceInfo, add_piece, compute_comm_d, generate_piece_commitment, zero_piece,
    };
    #[pymodule_export]
    use crate::post::{
        PrivateReplica, PublicReplica, generate_fallback_sector_challenges,
        generate_single_vanilla_proof, generate_single_window_post_with_vanilla,
        generate_window_post, generate_window_post_with_vanilla, generate_winning_post,
        generate_winning_post_sector_challenge, generate_winning_post_with_vanilla,
        get_num_partition_for_fallback_post, merge_window_post_partition_proofs,
        verify_window_post, verify_winning_post,
    };
    #[pymodule_export]
    use crate::records::{C1Output, Pc1Output, Pc2Output};
    #[pymodule_export]
    use crate::seal::{
        c1, c2, c2_circuit_proofs, clear_cache, clear_synthetic_proofs, generate_synth_proofs, pc1,
        pc2, tree_d, unseal_range,
    };
    #[pymodule_export]
    use crate::update::{
        UpdateEncoded, update_decode_from, update_encode_into, update_partition_proofs,
        update_prove, update_prove_with_vanilla, update_remove_encoded_data, update_verify,
        update_verify_partition_proofs,
    };
    #[pymodule_export]
    use crate::verify::{
        SealClaim, aggregate_seal_proofs, get_seal_inputs, verify_aggregate_seal_proofs,
        verify_batch_seal, verify_seal,
    };

    #[pymodule_init]
    #[allow(clippy::unnecessary_wraps, reason = "the signature is pyo3's")]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::errors::install_panic_hook();
        Ok(())
    }
}
