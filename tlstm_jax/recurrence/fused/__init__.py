"""engine="fused": the loop over time as one Pallas kernel."""
