"""Models made for a task beside the LSTM and the tensorized LSTM, on the tasks made for them."""
