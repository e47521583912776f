"""What every model of a file of a run has in common."""

from pydantic import BaseModel, ConfigDict


class FilePart(BaseModel):
    """Base of what is read from files: other writers may add keys, so unknown ones are kept."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True, use_attribute_docstrings=True)
