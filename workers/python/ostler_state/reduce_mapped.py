"""How classes that SQLAlchemy maps to tables are saved: by their tables, and by the arguments of their properties.

A mapper cannot be saved; it holds weak references and is tied to its process. Its class is mapped anew instead, after
it was filled (`make_mapped.py`). Facts about the classes of SQLAlchemy are of its versions 2.0 and 2.1.
"""

import sys

from .make_mapped import NOT_TWICE, TRANSFORMS, finish_mapped, make_property, make_registry
from .reduce_classes import class_state

MADE_BY_THE_MAPPER = "_sa_class_manager", "__mapper__"
MADE_BY_A_PROPERTY = "attribute_options", "comparator_factory"


def is_mapped(cls):
    return hasattr(vars(cls).get("__mapper__"), "class_manager")


def belongs_to_a_registry(cls):
    return hasattr(cls, "_sa_registry") or is_mapped(cls)


def reduce_registry(_saver, registry):
    options = {name: getattr(registry, name) for name in ("metadata", "constructor", "type_annotation_map")}
    return make_registry, (type(registry), options)


def reduce_mapper(_saver, mapper):
    return getattr, (mapper.class_, "__mapper__")


def reduce_attribute(_saver, attribute):
    return getattr, (attribute.class_, attribute.key)


def reduce_property(saver, made):
    positional, named = [], {}
    parameters = sys.modules["inspect"].signature(type(made).__init__).parameters
    takes_more = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters.values())
    for name, parameter in parameters.items():
        if name == "self" or name in MADE_BY_A_PROPERTY or parameter.kind is parameter.VAR_KEYWORD:
            continue
        value = argument(made, name, parameter.default)
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional += value
        elif takes_more and parameter.kind is not parameter.KEYWORD_ONLY:
            positional.append(value)
        elif value is not parameter.default:
            named[name] = value
    if named.get("backref") is not None:
        named.pop("back_populates", None)  # the mapper has set it
    return make_property, (type(made), positional, named)


def argument(made, name, default):
    """What a property was given, as far as it says so: a text that SQLAlchemy resolves later is that text."""
    if name == "_class_or_attr":
        return made.composite_class
    if name == "column":
        return made.columns[0]
    if name == "additional_columns":
        return made.columns[1:]
    if name == "attrs":
        return [each.key for each in made.props]
    value = getattr(getattr(made, "_init_args", None), name, None)
    value = getattr(made, name, getattr(made, "_" + name, default)) if value is None else value.argument
    resolver = getattr(value, "__self__", value)
    if type(resolver).__name__ == "_class_resolver":
        return resolver.arg
    if name == "cascade":
        return ", ".join(sorted(value))
    if name == "info":
        return value or None
    if name == "overlaps":
        return ",".join(sorted(value)) or None
    return value


def declarative_parts(cls, early, names):
    """What a class that belongs to a registry is made with, filled with, and finished by."""
    early = {**early, "__abstract__": True}
    if "_sa_registry" in vars(cls):  # a base: what it is made with decides where its classes are kept
        early.update((name, names[name]) for name in ("registry", "metadata") if name in names)
    if not is_mapped(cls):
        return early, (*class_state(cls, names), None, {}, {}), finish_mapped
    mapper = vars(cls)["__mapper__"]
    refuse_listeners(cls, mapper)
    after = {name: names[name] for name in NOT_TWICE if name in names}
    before = {name: value for name, value in names.items() if name not in MADE_BY_THE_MAPPER and name not in after}
    restore_constructor(cls, before)
    for each in mapper.attrs if mapper.configured else mapper._props.values():
        before.pop(each.key, None)
        if each.parent is mapper and not (made_for_a_backref(each) or follows_from_the_table(mapper, each)):
            before[each.key] = each
    meanwhile = {TRANSFORMS: None} if hasattr(cls, TRANSFORMS) else {}
    options = before.get("__mapper_args__", {})
    others = columns_of_subclasses(mapper)
    if others and type(options) is dict:
        after.update({"__mapper_args__": options} if options else {})
        meanwhile["__mapper_args__"] = {**options, "exclude_properties": others | set(options.get("exclude_properties", ()))}
    return early, (*class_state(cls, before), mapper.registry, meanwhile, after), finish_mapped


def refuse_listeners(cls, mapper):
    for event in mapper.dispatch._event_names:
        for listener in getattr(mapper.dispatch, event):
            inside = dict(zip(listener.__code__.co_freevars, listener.__closure__ or ()))
            listener = inside["fn"].cell_contents if "fn" in inside else listener
            if listener.__module__ != "sqlalchemy.orm.descriptor_props":
                raise TypeError(f"cannot save the mapped class '{cls.__name__}': '{event}' of its mapper has a listener")


def restore_constructor(cls, names):
    """The mapper has put a function of its own round `__init__`, which may be inherited."""
    given = getattr(names.get("__init__"), "_sa_original_init", None)
    if given is not None:
        del names["__init__"]
        if not any(vars(base).get("__init__") is given for base in cls.__mro__[1:]):
            names["__init__"] = given


def made_for_a_backref(made):
    return hasattr(getattr(made, "argument", None), "class_manager")


def follows_from_the_table(mapper, made):
    """A column that replaces one of a base: named once more it would change its place among the others."""
    columns = getattr(made, "columns", ())
    return len(columns) > 1 and mapper.local_table.c.get(made.key) is columns[0]


def columns_of_subclasses(mapper):
    """Names of columns that only classes below have: several classes of one table."""
    return {column.key for column in mapper.local_table.c if column not in mapper._columntoproperty}


REDUCERS_OF_SQLALCHEMY = {
    "registry": reduce_registry,
    "Mapper": reduce_mapper,
    "InstrumentedAttribute": reduce_attribute,
    "ColumnProperty": reduce_property,
    "MappedSQLExpression": reduce_property,
    "Relationship": reduce_property,
    "_RelationshipDeclared": reduce_property,
    "Composite": reduce_property,
    "Synonym": reduce_property,
}
