"""What looks at a trained run: certificate, influence, episodes, decomposition, comparison."""
