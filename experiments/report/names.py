"""What data sets and runs are called in the documentation."""

TITLES = {
    "digits": "digits, 4,884 weights",
    "mnist_mlp": "MNIST, 784-256-10, 203,530 weights",
    "evojax": "MNIST, EvoJAX's network, 11,274 weights",
    "mnist": "MNIST, 12,016 weights",
    "fashion_mnist": "Fashion-MNIST, 12,016 weights",
    "cifar10": "CIFAR-10 (JPEG), 57,104 weights",
}
"""By experiment."""
SMALL_TITLES = {"mnist": "MNIST, 3,768 weights", "digits": "digits, 2,452 weights"}
"""By data set, of the studies on small networks."""
LABELS = {
    "rso": "RSO, `authors_code`",
    "rso-part": "RSO, `authors_code`, 5,000 images",
    "rso-heads": "RSO, `authors_code`, local losses",
    "rso-heads-5": "RSO, `authors_code`, local losses, 5 cycles",
    "rso-paper": "RSO, `authors_code`, at the paper's size",
    "slopes": "slopes",
    "slopes-quarter": "slopes, a quarter of the evaluations",
    "slopes-shifted": "slopes, images shifted",
    "local": "slopes, local losses",
    "local-short": "slopes, local losses, short",
    "local-global": "slopes, local losses, then the network's own",
    "local-evening": "slopes, local losses, images shifted and flipped, for two hours",
    "local-long": "slopes, local losses, many steps",
    "local-wide": "slopes, local losses, heads with a hidden layer",
    "local-shifted": "slopes, local losses, images shifted",
    "local-half-hour-shifted": "slopes, local losses, images shifted, for half an hour",
    "spectral": "`spectral`, first version",
    "sgd": "SGD with momentum",
    "sgd-128": "SGD with momentum, batch 128",
    "sgd-shifted": "SGD with momentum, images shifted",
    "sgd-part": "SGD with momentum, 5,000 images",
    "adam": "Adam",
    "adam-10": "Adam, shorter",
    "adam-heads": "Adam, with heads",
    "open-es": "Open_ES",
    "pgpe": "PGPE",
    "snes": "SNES",
    "spsa": "SPSA",
}
"""By name of the run."""
