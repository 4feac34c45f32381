"""What a run stands on: reference scores, data, weights, temperature."""
