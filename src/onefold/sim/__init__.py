"""The simulated venue and the compiled backtest loop."""
