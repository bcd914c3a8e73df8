// The mixture of a network and n-grams of the same text, whose weight depends on the length of the context that they know.

function emptyMixture() {
  return [empty(), noContext()];
}

/** The state of both after reading an id, and ln p [V] of what follows. */
function readMixture([network, nodes], id) {
  const [after, z] = readNetwork(network, id), [contexts, logP] = readNgrams(nodes, id), p = softmax(z);
  const weight = W.mixture.weights[contexts.filter((node) => node >= 0).length];
  return [[after, contexts], logP.map((one, k) => Math.log(Math.max((1 - weight) * p[k] + weight * Math.exp(one), 1e-300)))];
}
