import org.codehaus.groovy.ast.CodeVisitorSupport
import org.codehaus.groovy.ast.ASTNode
import org.codehaus.groovy.ast.ClassNode
import org.codehaus.groovy.ast.expr.BinaryExpression
import org.codehaus.groovy.ast.expr.ClosureExpression
import org.codehaus.groovy.ast.expr.Expression
import org.codehaus.groovy.ast.expr.MethodCallExpression
import org.codehaus.groovy.ast.expr.VariableExpression
import org.codehaus.groovy.ast.stmt.ExpressionStatement
import org.codehaus.groovy.ast.stmt.ReturnStatement
import org.codehaus.groovy.ast.stmt.Statement
import org.codehaus.groovy.classgen.GeneratorContext
import org.codehaus.groovy.control.CompilePhase
import org.codehaus.groovy.control.SourceUnit
import org.codehaus.groovy.control.customizers.CompilationCustomizer

/**
 * What a file may be made of before a name in it means anything: blocks, calls and assignments.
 *
 * Jenkins' parser works on the same tree. It catches here what evaluation would take for something
 * else: `steps {…} post {…}` on one line is `steps(…).post(…)`, a call on an object.
 */
class Shape extends CompilationCustomizer {
    final List<Map> faults

    Shape(List<Map> faults) {
        super(CompilePhase.CONVERSION)
        this.faults = faults
    }

    void call(SourceUnit source, GeneratorContext context, ClassNode node) {
        List<Statement> top = source.AST.statementBlock.statements
        if (top.size() != 1 || callName(top ? top[0] : null) != 'pipeline') {
            add(top ? top[0] : node, 'the file holds one block, "pipeline", and nothing beside it')
        }
        Blocks blocks = new Blocks(this)
        top.each { it.visit(blocks) }
    }

    void add(ASTNode node, String text) {
        faults << [line: node.lineNumber, column: node.columnNumber, text: text]
    }

    static String callName(Statement statement) {
        Expression call = statement instanceof ExpressionStatement || statement instanceof ReturnStatement ? statement.expression : null
        call instanceof MethodCallExpression ? call.methodAsString : null
    }
}

class Blocks extends CodeVisitorSupport {
    private final Shape shape

    Blocks(Shape shape) {
        this.shape = shape
    }

    void visitClosureExpression(ClosureExpression closure) {
        int previous = 0
        for (Statement statement : closure.code.statements) {
            if (statement.lineNumber == previous) {
                shape.add(statement, 'No semicolons as statement separators: each statement has to be on its own line')
            }
            previous = statement.lastLineNumber
            check(statement)
        }
        super.visitClosureExpression(closure)
    }

    void visitMethodCallExpression(MethodCallExpression call) {
        if (call.methodAsString in ['expression', 'script']) {
            return  // any Groovy may stand there
        }
        super.visitMethodCallExpression(call)
    }

    private void check(Statement statement) {
        Expression found = statement instanceof ExpressionStatement || statement instanceof ReturnStatement ? statement.expression : null
        if (found instanceof MethodCallExpression) {
            if (!found.implicitThis) {
                shape.add(found, 'Method calls on objects not allowed outside "script" blocks. ' +
                    "Two things on one line are one such call: \"${found.methodAsString}\" needs a line of its own")
            }
        } else if (found.class == BinaryExpression && found.operation.text == '=') {
            if (!(found.leftExpression instanceof VariableExpression)) {
                shape.add(found, "\"${found.leftExpression.text}\" is not a valid environment expression. " +
                    'Use "key = value" pairs with valid Java/shell keys.')
            }
        } else {
            shape.add(statement, 'Expected a step')
        }
    }
}
