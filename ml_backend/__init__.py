"""What Label Studio calls for predictions: /health /setup /predict /webhook /versions. No torch."""
