"""How a model is found and read: names, configs, tensor headers, the Hub, the bundled catalogue."""
