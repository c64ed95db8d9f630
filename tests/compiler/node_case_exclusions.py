"""The node cases that dlc refuses, by the reason that it gives. Every other case that ONNX Runtime passes must work.

SMALL_TYPE: float8, float4 and 4-bit integers, which the graph's types do not have.
STRING, SEQUENCE, OPTIONAL: values that are no dense tensors; the graph's values are.
DOMAIN: traditional machine learning (`ai.onnx.ml`), which has neither function bodies nor gradients.
RANK: one branch of an If gives a scalar and the other a vector of one element.
OLD_FORM: Scan of opset 8, which had a batch axis that opset 9 dropped.
OPSET: models of opset 1; dlc reads 7 and later.
"""

from dlc.compiler.importer import Reason

EXCLUDED: dict[Reason, frozenset[str]] = {
    Reason.SMALL_TYPE: frozenset(
        {
            "test_castlike_FLOAT16_to_FLOAT8E4M3FN",
            "test_castlike_FLOAT16_to_FLOAT8E4M3FN_expanded",
            "test_castlike_FLOAT8E4M3FNUZ_to_FLOAT",
            "test_castlike_FLOAT8E4M3FNUZ_to_FLOAT16",
            "test_castlike_FLOAT8E4M3FNUZ_to_FLOAT16_expanded",
            "test_castlike_FLOAT8E4M3FNUZ_to_FLOAT_expanded",
            "test_castlike_FLOAT8E4M3FN_to_FLOAT",
            "test_castlike_FLOAT8E4M3FN_to_FLOAT16",
            "test_castlike_FLOAT8E4M3FN_to_FLOAT16_expanded",
            "test_castlike_FLOAT8E4M3FN_to_FLOAT_expanded",
            "test_castlike_FLOAT8E5M2FNUZ_to_FLOAT",
            "test_castlike_FLOAT8E5M2FNUZ_to_FLOAT16",
            "test_castlike_FLOAT8E5M2FNUZ_to_FLOAT16_expanded",
            "test_castlike_FLOAT8E5M2FNUZ_to_FLOAT_expanded",
            "test_castlike_FLOAT8E5M2_to_FLOAT",
            "test_castlike_FLOAT8E5M2_to_FLOAT16",
            "test_castlike_FLOAT8E5M2_to_FLOAT16_expanded",
            "test_castlike_FLOAT8E5M2_to_FLOAT_expanded",
            "test_castlike_FLOAT_to_FLOAT8E4M3FN",
            "test_castlike_FLOAT_to_FLOAT8E4M3FN_expanded",
            "test_castlike_no_saturate_FLOAT16_to_FLOAT8E4M3FN",
            "test_castlike_no_saturate_FLOAT16_to_FLOAT8E4M3FN_expanded",
            "test_castlike_no_saturate_FLOAT_to_FLOAT8E4M3FN",
            "test_castlike_no_saturate_FLOAT_to_FLOAT8E4M3FN_expanded",
        }
    ),
    Reason.STRING: frozenset(
        {
            "test_ai_onnx_ml_label_encoder_string_int",
            "test_ai_onnx_ml_label_encoder_string_int_no_default",
            "test_ai_onnx_ml_label_encoder_tensor_mapping",
            "test_ai_onnx_ml_label_encoder_tensor_value_only_mapping",
            "test_equal_string",
            "test_equal_string_broadcast",
            "test_regex_full_match_basic",
            "test_regex_full_match_email_domain",
            "test_regex_full_match_empty",
            "test_string_concat",
            "test_string_concat_broadcasting",
            "test_string_concat_empty_string",
            "test_string_concat_utf8",
            "test_string_concat_zero_dimensional",
            "test_string_split_basic",
            "test_string_split_consecutive_delimiters",
            "test_string_split_empty_string_delimiter",
            "test_string_split_empty_tensor",
            "test_string_split_maxsplit",
            "test_string_split_no_delimiter",
            "test_strnormalizer_export_monday_casesensintive_nochangecase",
            "test_strnormalizer_nostopwords_nochangecase",
        }
    ),
    Reason.SEQUENCE: frozenset(
        {
            "test_identity_sequence",
            "test_if_seq",
            "test_loop13_seq",
            "test_sequence_insert_at_back",
            "test_sequence_insert_at_front",
            "test_sequence_map_add_1_sequence_1_tensor",
            "test_sequence_map_add_1_sequence_1_tensor_expanded",
            "test_sequence_map_add_2_sequences",
            "test_sequence_map_add_2_sequences_expanded",
            "test_sequence_map_extract_shapes",
            "test_sequence_map_extract_shapes_expanded",
            "test_sequence_map_identity_1_sequence",
            "test_sequence_map_identity_1_sequence_1_tensor",
            "test_sequence_map_identity_1_sequence_1_tensor_expanded",
            "test_sequence_map_identity_1_sequence_expanded",
            "test_sequence_map_identity_2_sequences",
            "test_sequence_map_identity_2_sequences_expanded",
            "test_split_to_sequence_1",
            "test_split_to_sequence_2",
            "test_split_to_sequence_nokeepdims",
        }
    ),
    Reason.OPTIONAL: frozenset(
        {
            "test_identity_opt",
            "test_if_opt",
            "test_loop16_seq_none",
        }
    ),
    Reason.DOMAIN: frozenset(
        {
            "test_ai_onnx_ml_array_feature_extractor",
            "test_ai_onnx_ml_binarizer",
            "test_ai_onnx_ml_tree_ensemble_set_membership",
            "test_ai_onnx_ml_tree_ensemble_single_tree",
        }
    ),
    Reason.RANK: frozenset(
        {
            "test_affine_grid_3d_align_corners_expanded",
        }
    ),
    Reason.OLD_FORM: frozenset(
        {
            "test_scan_sum",
        }
    ),
    Reason.OPSET: frozenset(
        {
            "test_not_2d",
            "test_not_3d",
            "test_not_4d",
        }
    ),
}
