"""MLflow as a view of the journal; importing this package imports no MLflow.

    sink       the class that the registry loads
    store      which MLflow store is meant
    active     the run that is active in this process
    schema     may this MLflow open that sqlite store?
    session    one open tracked run: batches in, requests out
    locate     which tracked run is meant
    adoption   ... when only its logged output directory tells
    artifacts  the audit as files and as the run's note
    models     ... and as tags of the models that hold the adapter
    contents   what a batch becomes in MLflow's terms
    keys       MLflow's names for ours
    limits     requests that MLflow takes
    faults     its exceptions as ours
    probing    whether a store answers, without a trace in it
    user       who is at work here
    references the class that fetches adapters from runs and registered models
    download   ... in a process of its own
    history    the class that `gradience import` reads runs by
    fetched    ... from a store

All but `sink`, `store`, `active`, `references` and `history` are imported by the first `open` or in another process.
"""

from gradience_mlflow.history import MLflowHistories
from gradience_mlflow.references import MLflowResolver
from gradience_mlflow.sink import MLflowSink

__all__ = ["MLflowHistories", "MLflowResolver", "MLflowSink"]
