"""Makes classes that SQLAlchemy maps to tables. Checkpoints name these functions."""

from .make_classes import fill_class, finish_class

TRANSFORMS = "_sa_apply_dc_transforms"  # an order to make a dataclass of the class
# What SQLAlchemy would act on once more: it would read annotations as declarations of columns that the table has.
NOT_TWICE = TRANSFORMS, "__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__"


def make_registry(kind, options):
    return kind(**options)


def make_property(kind, positional, named):
    return kind(*positional, **named)


def finish_mapped(cls, state):
    """Fills a class that was made as an abstract one, and maps it if it was mapped."""
    *state, registry, meanwhile, after = state
    if "__abstract__" in vars(cls):
        type.__delattr__(cls, "__abstract__")
    finish_class(cls, state)
    fill_class(cls, meanwhile)
    if registry is not None:
        registry.map_declaratively(cls)
    for name in meanwhile:
        type.__delattr__(cls, name)
    fill_class(cls, after)
