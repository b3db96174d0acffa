"""Tables, charts, the neuron explorer and the answers browser."""
